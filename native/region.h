// Guest memory: a memfd (or a file) and the process's one mapping of it, shared so that a device may map it. Kept by holds
// (shared_ptr): the creator's (the table below), one of every window, batch, transfer, and device that maps it.
#pragma once

#include <cstdint>
#include <memory>

namespace vdpa {

class Region {
 public:
  /** `size` in bytes, a multiple of 4096. 0 or -errno. */
  static int Create(const char* name, uint64_t size, std::shared_ptr<Region>* region);
  /** The first `size` bytes of a file, which must have them. 0 or -errno. */
  static int Open(const char* path, uint64_t size, std::shared_ptr<Region>* region);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  bool Contains(uint64_t offset, uint64_t length) const { return offset <= size && length <= size - offset; }

  const int fd;
  uint8_t* const base;
  const uint64_t size;

 private:
  /** Takes over the file, or the -errno it could not be had with. */
  static int Wrap(int fd, uint64_t size, std::shared_ptr<Region>* region);
  Region(int fd, uint8_t* base, uint64_t size) : fd(fd), base(base), size(size) {}
};

// The regions of the process by id, for all threads. An id is never given twice.
uint32_t AddRegion(std::shared_ptr<Region> region);
std::shared_ptr<Region> FindRegion(uint64_t id);
/** Takes it from the table: the creator's hold passes to the caller; null when there is none. */
std::shared_ptr<Region> TakeRegion(uint64_t id);

}  // namespace vdpa
