// A device's thread: batches in, in order, one at a time; finished batches out, with an eventfd to say so.
//
// A system call may block for as long as whoever serves the device likes, so nobody ever waits for the thread: it is
// detached, holds its own state, and ends by itself.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>

#include "batch.h"

namespace vdpa {

class Device {
 public:
  /** 0 or -errno. */
  static int Start(std::shared_ptr<Device>* device);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  int event_fd() const { return event_fd_; }
  /** The batch's ticket (1, 2, …), or -ENOBUFS when too many are under way or not reaped. */
  int64_t Submit(std::unique_ptr<Batch> batch);
  /** 0, or -ENOENT when no batch under way has this ticket. */
  int Cancel(uint64_t ticket);
  /** The oldest finished batch, or null. */
  std::unique_ptr<Batch> Reap();
  /** Ends the thread after the system call it is in, which may be never; the file is closed then. */
  void Retire();

 private:
  explicit Device(int event_fd) : event_fd_(event_fd) {}
  static void* Main(void* device);
  void Run();
  Batch* WaitForBatch();
  void Finish();

  const int event_fd_;
  std::atomic<bool> retired_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  // Under the mutex. The thread works on the front of `queued_`, which nobody else removes.
  std::deque<std::unique_ptr<Batch>> queued_;
  std::deque<std::unique_ptr<Batch>> done_;
  uint64_t last_ticket_ = 0;
};

}  // namespace vdpa
