// A vhost-vdpa file and the system calls on it. Used by one thread.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <utility>

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

  /** Records what an unmap that succeeded has given up. */
  void Forget(const IotlbArgument& argument);

  int fd_ = -1;
  struct Mapped {
    uint64_t size;
    std::shared_ptr<Region> region;
  };
  // What the device may write stays in memory until it is unmapped, or the file closed; also what a map that failed may have left.
  // By address space and start. What is mapped does not overlap, because the kernel refuses that; what failed may, and is then
  // kept until the file is closed.
  std::map<std::pair<uint32_t, uint64_t>, Mapped> mapped_;
};

}  // namespace vdpa
