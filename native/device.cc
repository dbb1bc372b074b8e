#include "device.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "device_file.h"

namespace vdpa {
namespace {

constexpr size_t kMaxBatches = 1024;
constexpr size_t kStackBytes = 256 * 1024;

int StartDetached(void* (*main)(void*), void* argument) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  // Signals are for Node's thread: here one would interrupt a system call of the device.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, main, argument);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  return -error;
}

}  // namespace

int Device::Start(std::shared_ptr<Device>* device) {
  const int event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event_fd < 0) return -errno;
  std::shared_ptr<Device> started(new Device(event_fd));
  auto* own = new std::shared_ptr<Device>(started);
  const int result = StartDetached(Main, own);
  if (result < 0) {
    delete own;
    return result;
  }
  *device = std::move(started);
  return 0;
}

Device::~Device() {
  close(event_fd_);
}

int64_t Device::Submit(std::unique_ptr<Batch> batch) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (queued_.size() + done_.size() >= kMaxBatches) return -ENOBUFS;
  batch->ticket = ++last_ticket_;
  queued_.push_back(std::move(batch));
  wake_.notify_one();
  return static_cast<int64_t>(last_ticket_);
}

int Device::Cancel(uint64_t ticket) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& batch : queued_) {
    if (batch->ticket != ticket) continue;
    batch->canceled = true;
    return 0;
  }
  return -ENOENT;
}

std::unique_ptr<Batch> Device::Reap() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (done_.empty()) return nullptr;
  std::unique_ptr<Batch> batch = std::move(done_.front());
  done_.pop_front();
  return batch;
}

void Device::Retire() {
  std::lock_guard<std::mutex> lock(mutex_);
  retired_ = true;
  wake_.notify_one();
}

void* Device::Main(void* device) {
  std::unique_ptr<std::shared_ptr<Device>> own(static_cast<std::shared_ptr<Device>*>(device));
  pthread_setname_np(pthread_self(), "vhost-vdpa");
  (*own)->Run();
  return nullptr;
}

void Device::Run() {
  DeviceFile file;
  while (Batch* batch = WaitForBatch()) {
    file.Execute(batch, retired_);
    Finish();
  }
}

// Null when the device was retired.
Batch* Device::WaitForBatch() {
  std::unique_lock<std::mutex> lock(mutex_);
  wake_.wait(lock, [this] { return retired_ || !queued_.empty(); });
  return retired_ ? nullptr : queued_.front().get();
}

void Device::Finish() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    done_.push_back(std::move(queued_.front()));
    queued_.pop_front();
  }
  eventfd_write(event_fd_, 1);
}

}  // namespace vdpa
