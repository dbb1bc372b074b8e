#include "region.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mutex>
#include <unordered_map>

namespace vdpa {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kLargePage = uint64_t{2} << 20;
constexpr uint64_t kHugePage = uint64_t{1} << 30;

// Memory starts where IOMMU and CPU can use large pages, small memory too: an IOMMU may know no smaller ones.
uint64_t Alignment(uint64_t size) {
  return size >= kHugePage ? kHugePage : kLargePage;
}

int CreateFile(const char* name, uint64_t size) {
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return -errno;
  // A file that shrank under a mapping would end this process and the device's requests with faults.
  if (ftruncate(fd, static_cast<off_t>(size)) != 0 ||
      fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    int error = errno;
    close(fd);
    return -error;
  }
  return fd;
}

// A file of the system: a device's memory, such as a PCI resource.
int OpenFile(const char* path, uint64_t size) {
  int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return -errno;
  struct stat status;
  int error = fstat(fd, &status) != 0 ? errno : 0;
  // Touching a page beyond the end of a file ends the process.
  if (error == 0 && S_ISREG(status.st_mode) && static_cast<uint64_t>(status.st_size) < size) error = ENODATA;
  if (error == 0) return fd;
  close(fd);
  return -error;
}

// Null, with errno, on failure.
uint8_t* Map(int fd, uint64_t size) {
  const uint64_t alignment = Alignment(size);
  void* reserved = mmap(nullptr, size + alignment, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return nullptr;
  uint8_t* start = static_cast<uint8_t*>(reserved);
  const uint64_t head = -reinterpret_cast<uintptr_t>(start) & (alignment - 1);
  uint8_t* base = start + head;
  if (mmap(base, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0) == MAP_FAILED) {
    int error = errno;
    munmap(reserved, size + alignment);
    errno = error;
    return nullptr;
  }
  if (head > 0) munmap(start, head);
  munmap(base + size, alignment - head);
  return base;
}

struct Table {
  std::mutex mutex;
  std::unordered_map<uint64_t, std::shared_ptr<Region>> regions;
  uint32_t last = 0;
};

// Never destroyed: device threads may still run while the process exits.
Table& TheTable() {
  static Table* table = new Table;
  return *table;
}

}  // namespace

int Region::Create(const char* name, uint64_t size, std::shared_ptr<Region>* region) {
  if (size == 0 || size % kPage != 0) return -EINVAL;
  return Wrap(CreateFile(name, size), size, region);
}

int Region::Open(const char* path, uint64_t size, std::shared_ptr<Region>* region) {
  if (size == 0 || size % kPage != 0) return -EINVAL;
  return Wrap(OpenFile(path, size), size, region);
}

int Region::Wrap(int fd, uint64_t size, std::shared_ptr<Region>* region) {
  if (fd < 0) return fd;
  uint8_t* base = Map(fd, size);
  if (base == nullptr) {
    int error = errno;
    close(fd);
    return -error;
  }
  region->reset(new Region(fd, base, size));
  return 0;
}

Region::~Region() {
  munmap(base, size);
  close(fd);
}

uint32_t AddRegion(std::shared_ptr<Region> region) {
  Table& table = TheTable();
  std::lock_guard<std::mutex> lock(table.mutex);
  table.regions.emplace(++table.last, std::move(region));
  return table.last;
}

std::shared_ptr<Region> FindRegion(uint64_t id) {
  Table& table = TheTable();
  std::lock_guard<std::mutex> lock(table.mutex);
  auto found = table.regions.find(id);
  return found == table.regions.end() ? nullptr : found->second;
}

std::shared_ptr<Region> TakeRegion(uint64_t id) {
  Table& table = TheTable();
  std::lock_guard<std::mutex> lock(table.mutex);
  auto found = table.regions.find(id);
  if (found == table.regions.end()) return nullptr;
  std::shared_ptr<Region> region = std::move(found->second);
  table.regions.erase(found);
  return region;
}

}  // namespace vdpa
