// A vhost-vdpa file and the system calls on it. Used by one thread.
#pragma once

#include <atomic>
#include <memory>
#include <unordered_set>

#include "batch.h"
#include "requests.h"

namespace vdpa {

class DeviceFile {
 public:
  ~DeviceFile() { Close(); }

  /** Runs the entries in order until one fails; then, or when canceled, those marked always. Nothing once `retired`. */
  void Execute(Batch* batch, const std::atomic<bool>& retired);

 private:
  // Each returns what the system call returned, or -errno.
  int Call(const Request& request, Entry* entry, const std::shared_ptr<Region>* region);
  int Open(const char* path);
  int Close();
  int Ioctl(uint32_t number, Entry* entry);
  int SendIotlb(uint8_t type, const IotlbArgument& argument, const std::shared_ptr<Region>* region);

  int fd_ = -1;
  // What the device may write stays mapped until the file is closed: an unmap may have been refused, or not asked for.
  std::unordered_set<std::shared_ptr<Region>> mapped_;
};

}  // namespace vdpa
