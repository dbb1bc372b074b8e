#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

namespace vdpa {
namespace {

constexpr uint64_t kBlock = 1 << 20;

using Buffer = std::unique_ptr<uint8_t[]>;

Buffer NewBuffer() {
  return Buffer(new (std::nothrow) uint8_t[kBlock]);
}

bool Within(const Region& region, const std::vector<Range>& ranges) {
  return std::all_of(ranges.begin(), ranges.end(),
                     [&](const Range& range) { return region.Contains(range.offset, range.length); });
}

// The first offset from `position` on that is data (or a hole); `end` if there is none before. 0 or errno.
int Seek(const Region& region, uint64_t position, uint64_t end, int whence, uint64_t* found) {
  const off_t offset = lseek(region.fd, static_cast<off_t>(position), whence);
  *found = offset < 0 ? end : std::min(static_cast<uint64_t>(offset), end);
  return offset < 0 && errno != ENXIO ? errno : 0;
}

int ReadAll(const Region& region, uint8_t* buffer, uint64_t length, uint64_t offset) {
  while (length > 0) {
    const ssize_t count = pread(region.fd, buffer, length, static_cast<off_t>(offset));
    if (count == 0 || (count < 0 && errno != EINTR)) return count == 0 ? EIO : errno;
    if (count < 0) continue;
    buffer += count;
    offset += static_cast<uint64_t>(count);
    length -= static_cast<uint64_t>(count);
  }
  return 0;
}

int WriteAll(const Region& region, const uint8_t* buffer, uint64_t length, uint64_t offset) {
  while (length > 0) {
    const ssize_t count = pwrite(region.fd, buffer, length, static_cast<off_t>(offset));
    if (count == 0 || (count < 0 && errno != EINTR)) return count == 0 ? EIO : errno;
    if (count < 0) continue;
    buffer += count;
    offset += static_cast<uint64_t>(count);
    length -= static_cast<uint64_t>(count);
  }
  return 0;
}

// Where the source has a hole, data of the target becomes zeroes. Not by punching: a device that pinned the target's pages
// would go on with the old ones.
int ZeroData(const Region& to, uint64_t position, uint64_t end, uint8_t* buffer) {
  while (position < end) {
    uint64_t data = end, hole = end;
    int error = Seek(to, position, end, SEEK_DATA, &data);
    if (error == 0 && data < end) error = Seek(to, data, end, SEEK_HOLE, &hole);
    if (error != 0) return error;
    std::memset(buffer, 0, std::min(kBlock, hole - data));
    for (uint64_t at = data; at < hole; at += kBlock) {
      error = WriteAll(to, buffer, std::min(kBlock, hole - at), at);
      if (error != 0) return error;
    }
    position = hole;
  }
  return 0;
}

int CopyData(const Region& from, const Region& to, uint64_t position, uint64_t end, uint8_t* buffer, Transfer* total) {
  while (position < end) {
    const uint64_t length = std::min(kBlock, end - position);
    int error = ReadAll(from, buffer, length, position);
    if (error == 0) error = WriteAll(to, buffer, length, position);
    if (error != 0) return error;
    total->data += length;
    position += length;
  }
  return 0;
}

int CopyRange(const Region& from, const Region& to, const Range& range, uint8_t* buffer, Transfer* total) {
  uint64_t position = range.offset;
  const uint64_t end = range.offset + range.length;
  while (position < end) {
    uint64_t data = end, hole = end;
    int error = Seek(from, position, end, SEEK_DATA, &data);
    if (error == 0 && data > position) error = ZeroData(to, position, data, buffer);
    if (error != 0) return error;
    total->holes += data - position;
    if (data < end) error = Seek(from, data, end, SEEK_HOLE, &hole);
    if (error == 0) error = CopyData(from, to, data, hole, buffer, total);
    if (error != 0) return error;
    position = hole;
  }
  return 0;
}

void ComparePages(const uint8_t* a, const uint8_t* b, uint64_t offset, uint64_t length, Transfer* total) {
  for (uint64_t page = 0; page < length; page += kComparePage) {
    if (std::memcmp(a + page, b + page, kComparePage) == 0) continue;
    if (total->mismatches < total->first.size()) total->first[total->mismatches] = static_cast<double>(offset + page);
    total->mismatches++;
  }
}

int CompareData(const Region& a, const Region& b, uint64_t position, uint64_t end, uint8_t* block_a, uint8_t* block_b,
                Transfer* total) {
  while (position < end) {
    const uint64_t length = std::min(kBlock, end - position);
    int error = ReadAll(a, block_a, length, position);
    if (error == 0) error = ReadAll(b, block_b, length, position);
    if (error != 0) return error;
    ComparePages(block_a, block_b, position, length, total);
    total->data += length;
    position += length;
  }
  return 0;
}

// Where data begins on either side, and up to where it goes on without a change on either side.
int NextData(const Region& a, const Region& b, uint64_t position, uint64_t end, uint64_t* data, uint64_t* run_end) {
  uint64_t end_a = end, end_b = end;
  int error = Seek(a, position, end, SEEK_DATA, &end_a);
  if (error == 0) error = Seek(b, position, end, SEEK_DATA, &end_b);
  *data = std::min(end_a, end_b);
  // A side that has data here goes on to its next hole, the other to where its data begins.
  if (error == 0 && end_a == *data && *data < end) error = Seek(a, *data, end, SEEK_HOLE, &end_a);
  if (error == 0 && end_b == *data && *data < end) error = Seek(b, *data, end, SEEK_HOLE, &end_b);
  *run_end = std::min(end_a, end_b);
  return error;
}

int CompareRange(const Region& a, const Region& b, const Range& range, uint8_t* block_a, uint8_t* block_b,
                 Transfer* total) {
  uint64_t position = range.offset;
  const uint64_t end = range.offset + range.length;
  while (position < end) {
    uint64_t data = end, run_end = end;
    int error = NextData(a, b, position, end, &data, &run_end);
    if (error != 0) return error;
    total->holes += data - position;
    error = CompareData(a, b, data, run_end, block_a, block_b, total);
    if (error != 0) return error;
    position = run_end;
  }
  return 0;
}

bool WholePages(const std::vector<Range>& ranges) {
  return std::all_of(ranges.begin(), ranges.end(),
                     [](const Range& range) { return (range.offset | range.length) % kComparePage == 0; });
}

}  // namespace

Transfer Copy(const Region& from, const Region& to, const std::vector<Range>& ranges) {
  Transfer total;
  const Buffer buffer = NewBuffer();
  if (buffer == nullptr) total.error = ENOMEM;
  if (!Within(from, ranges) || !Within(to, ranges)) total.error = EINVAL;
  for (size_t i = 0; i < ranges.size() && total.error == 0; i++) {
    total.error = CopyRange(from, to, ranges[i], buffer.get(), &total);
  }
  return total;
}

Transfer Compare(const Region& a, const Region& b, const std::vector<Range>& ranges) {
  Transfer total;
  const Buffer block_a = NewBuffer(), block_b = NewBuffer();
  if (block_a == nullptr || block_b == nullptr) total.error = ENOMEM;
  if (!Within(a, ranges) || !Within(b, ranges) || !WholePages(ranges)) total.error = EINVAL;
  for (size_t i = 0; i < ranges.size() && total.error == 0; i++) {
    total.error = CompareRange(a, b, ranges[i], block_a.get(), block_b.get(), &total);
  }
  return total;
}

}  // namespace vdpa
