#include "device_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <iterator>

#include "region.h"

namespace vdpa {
namespace {

uint64_t Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000 + static_cast<uint64_t>(now.tv_nsec);
}

bool IsUpdate(const Request& request) {
  return request.kind == Kind::kIotlb && request.code == VHOST_IOTLB_UPDATE;
}

bool AsExpected(const Request& request, Entry* entry) {
  if ((entry->flags & kExpect) == 0) return true;
  uint32_t value = 0;
  const size_t length = std::min<size_t>(sizeof(value), entry->arg_len - static_cast<uint32_t>(request.value));
  std::memcpy(&value, entry->argument() + request.value, length);
  return (value & entry->expect_mask) == entry->expect_equals;
}

}  // namespace

void DeviceFile::Execute(Batch* batch, const std::atomic<bool>& retired) {
  const std::shared_ptr<Region>* region = batch->regions().data();
  bool failed = false;
  uint64_t stamp = Now();
  for (Entry* entry = batch->begin(); entry != batch->end() && !retired; entry = Batch::next(entry)) {
    const Request& request = kRequests[entry->opcode];
    const std::shared_ptr<Region>* own = IsUpdate(request) ? region++ : nullptr;
    if ((failed || batch->canceled) && (entry->flags & kAlways) == 0) continue;
    entry->ran = 1;
    entry->start_ns = stamp;
    const int result = Call(request, entry, own);
    stamp = Now();
    entry->end_ns = stamp;
    entry->ret = result < 0 ? -1 : result;
    if (result < 0) {
      entry->error = -result;
    } else if (!AsExpected(request, entry)) {
      entry->error = EPROTO;
    }
    failed = failed || entry->error != 0;
  }
}

int DeviceFile::Call(const Request& request, Entry* entry, const std::shared_ptr<Region>* region) {
  switch (request.kind) {
    case Kind::kOpen:
      return Open(reinterpret_cast<const char*>(entry->argument()));
    case Kind::kClose:
      return Close();
    case Kind::kIoctl:
      return Ioctl(request.code, entry);
    case Kind::kIotlb:
      break;
  }
  return SendIotlb(static_cast<uint8_t>(request.code), *reinterpret_cast<IotlbArgument*>(entry->argument()), region);
}

int DeviceFile::Open(const char* path) {
  if (fd_ >= 0) return -EBUSY;
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return -errno;
  struct stat status;
  // vhost's requests are other drivers' requests on other kinds of file.
  if (fstat(fd, &status) != 0 || !S_ISCHR(status.st_mode)) {
    close(fd);
    return -ENOTTY;
  }
  fd_ = fd;
  return fd;
}

int DeviceFile::Close() {
  if (fd_ < 0) return -EBADF;
  // Whatever close(2) answers, the file is gone.
  const int result = close(fd_) == 0 ? 0 : -errno;
  fd_ = -1;
  mapped_.clear();
  return result;
}

int DeviceFile::Ioctl(uint32_t number, Entry* entry) {
  if (fd_ < 0) return -EBADF;
  // A kernel that lacks a request without argument answers ENOTTY only if it can read a queue's index where it points.
  vhost_vring_addr none = {};
  void* argument = entry->arg_len > 0 ? static_cast<void*>(entry->argument()) : &none;
  const int result = ioctl(fd_, number, argument);
  return result < 0 ? -errno : result;
}

int DeviceFile::SendIotlb(uint8_t type, const IotlbArgument& argument, const std::shared_ptr<Region>* region) {
  if (fd_ < 0) return -EBADF;
  vhost_msg_v2 message = {};
  message.type = VHOST_IOTLB_MSG_V2;
  message.asid = argument.asid;
  message.iotlb.iova = argument.iova;
  message.iotlb.size = argument.size;
  message.iotlb.type = type;
  if (region != nullptr) {
    message.iotlb.uaddr = reinterpret_cast<uintptr_t>((*region)->base) + argument.offset;
    message.iotlb.perm = argument.perm;
  }
  const ssize_t written = write(fd_, &message, sizeof(message));
  const int error = errno;
  const bool done = written == sizeof(message);
  if (region != nullptr) {
    // A failed one on a range that is held must not let go of what is there.
    Mapped mapped = {argument.size, *region};
    if (done) {
      mapped_[{argument.asid, argument.iova}] = std::move(mapped);
    } else {
      mapped_.emplace(std::make_pair(argument.asid, argument.iova), std::move(mapped));
    }
  } else if (done && type == VHOST_IOTLB_INVALIDATE) {
    Forget(argument);
  }
  if (written < 0) return -error;
  return done ? static_cast<int>(written) : -EIO;
}

// The kernel takes every entry that the range touches (drivers/vhost/vdpa.c, vhost_vdpa_unmap).
void DeviceFile::Forget(const IotlbArgument& argument) {
  const uint64_t last = argument.iova + argument.size - 1;
  auto entry = mapped_.lower_bound({argument.asid, argument.iova});
  // Entries do not overlap, so only the one before can reach into the range.
  if (entry != mapped_.begin()) --entry;
  while (entry != mapped_.end() && entry->first <= std::make_pair(argument.asid, last)) {
    const bool touched =
        entry->first.first == argument.asid && argument.iova <= entry->first.second + entry->second.size - 1;
    entry = touched ? mapped_.erase(entry) : std::next(entry);
  }
}

}  // namespace vdpa
