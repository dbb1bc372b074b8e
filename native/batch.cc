#include "batch.h"

#include <errno.h>
#include <limits.h>
#include <linux/vhost.h>

#include <cstring>
#include <new>

#include "region.h"
#include "requests.h"

namespace vdpa {
namespace {

uint32_t Word(const uint8_t* bytes) {
  uint32_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

bool IsPath(const uint8_t* argument, uint32_t length) {
  return length >= 2 && length <= PATH_MAX && std::memchr(argument, 0, length) == argument + length - 1;
}

bool IsConfig(const uint8_t* argument, uint32_t length) {
  return length >= kConfigHeader && length - kConfigHeader <= kMaxConfig &&
         Word(argument + 4) == length - kConfigHeader;
}

// For the kernel to read no further than the argument, and to write no further.
bool IsArgument(const Request& request, const uint8_t* argument, uint32_t length) {
  if (request.size != kOwnLength && static_cast<uint32_t>(request.size) != length) return false;
  if (request.kind == Kind::kOpen) return IsPath(argument, length);
  if (request.size == kOwnLength) return IsConfig(argument, length);
  // The regions of a vhost_memory would follow it: none may be announced.
  if (request.kind == Kind::kIoctl && request.code == VHOST_SET_MEM_TABLE) return Word(argument) == 0;
  return true;
}

}  // namespace

int Batch::Parse(const uint8_t* bytes, size_t size, std::unique_ptr<Batch>* batch) {
  if (size == 0) return -EINVAL;
  std::unique_ptr<uint8_t[]> copy(new (std::nothrow) uint8_t[size]);
  if (copy == nullptr) return -ENOMEM;
  std::memcpy(copy.get(), bytes, size);
  // Validated is the copy: the caller's bytes may be shared with another thread.
  std::unique_ptr<Batch> parsed(new Batch(std::move(copy), size));
  if (!parsed->Validate()) return -EINVAL;
  *batch = std::move(parsed);
  return 0;
}

bool Batch::Validate() {
  size_t offset = 0;
  while (size_ - offset >= sizeof(Entry)) {
    Entry* entry = at(offset);
    if (entry->length() > size_ - offset || !ValidateEntry(entry)) return false;
    offset += entry->length();
  }
  return offset == size_;
}

bool Batch::ValidateEntry(Entry* entry) {
  if (entry->opcode >= kRequestCount || (entry->flags & ~(kAlways | kExpect)) != 0) return false;
  const Request& request = kRequests[entry->opcode];
  if ((entry->flags & kExpect) != 0 && request.value == kNoValue) return false;
  if (!IsArgument(request, entry->argument(), entry->arg_len)) return false;
  entry->error = 0;
  entry->ran = 0;
  entry->ret = 0;
  entry->start_ns = 0;
  entry->end_ns = 0;
  if (request.kind != Kind::kIotlb || request.code != VHOST_IOTLB_UPDATE) return true;
  return HoldRegion(*reinterpret_cast<const IotlbArgument*>(entry->argument()));
}

bool Batch::HoldRegion(const IotlbArgument& argument) {
  std::shared_ptr<Region> region = FindRegion(argument.region);
  if (region == nullptr || !region->Contains(argument.offset, argument.size)) return false;
  if (argument.perm < VHOST_ACCESS_RO || argument.perm > VHOST_ACCESS_RW) return false;
  regions_.push_back(std::move(region));
  return true;
}

}  // namespace vdpa
