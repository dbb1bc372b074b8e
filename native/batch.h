// A batch: system calls as bytes, executed in order by a device's thread (device.h), results written in place.
//
// Little-endian. One or more entries, each a header of 48 bytes, then the argument, padded to a multiple of 8:
//
//   offset  type  field          who writes it
//        0  u32   opcode         caller: row of the table of requests (requests.cc)
//        4  u32   flags          caller: kAlways 1, kExpect 2
//        8  u32   arg_len        caller: bytes of argument, without the padding
//       12  i32   error          addon: 0 or errno, positive
//       16  u32   ran            addon: 1 when the system call was made
//       20  i32   ret            addon: what it returned
//       24  u64   start_ns       addon: CLOCK_MONOTONIC before it; 0 when it did not run
//       32  u64   end_ns         addon: and after it; the next entry's start is the same stamp, so times add up
//       40  u32   expect_mask    caller: with kExpect, the call fails with EPROTO unless the value it read,
//       44  u32   expect_equals          masked, equals this
//       48        argument       caller; what a call reads is written into it
//
// The value a call reads: the first four bytes of the argument (fewer where it is shorter, zero-extended), of `num`
// where the argument is a vhost_vring_state, of the content where it is config. kExpect on a call that reads none is
// refused.
//
// Arguments are the kernel's structures, but for three:
//   open           the path, with its terminating NUL
//   GET/SET_CONFIG {u32 off, u32 len, u8 buf[len]}, len <= 4096
//   IOTLB rows     IotlbArgument below: memory is named by region and offset, the address is filled in here
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace vdpa {

class Region;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the layout of a batch is the host's own");

constexpr uint32_t kAlways = 1;  // run it after a failure or a cancellation too
constexpr uint32_t kExpect = 2;

struct Entry {
  uint32_t opcode;
  uint32_t flags;
  uint32_t arg_len;
  int32_t error;
  uint32_t ran;
  int32_t ret;
  uint64_t start_ns;
  uint64_t end_ns;
  uint32_t expect_mask;
  uint32_t expect_equals;

  uint8_t* argument() { return reinterpret_cast<uint8_t*>(this + 1); }
  /** Header, argument and padding. */
  size_t length() const { return sizeof(Entry) + ((size_t{arg_len} + 7) & ~size_t{7}); }
};
static_assert(sizeof(Entry) == 48 && offsetof(Entry, error) == 12 && offsetof(Entry, start_ns) == 24);
static_assert(offsetof(Entry, end_ns) == 32 && offsetof(Entry, expect_equals) == 44);

struct IotlbArgument {
  uint64_t iova;
  uint64_t size;
  uint64_t offset;  // UPDATE: into the region
  uint32_t asid;
  uint32_t region;  // UPDATE: id
  uint8_t perm;     // UPDATE: VHOST_ACCESS_RO, _WO or _RW
  uint8_t padding[7];
};
static_assert(sizeof(IotlbArgument) == 40 && offsetof(IotlbArgument, perm) == 32);

constexpr uint32_t kConfigHeader = 8;
constexpr uint32_t kMaxConfig = 4096;

class Batch {
 public:
  /** Copies and validates; 0, -EINVAL or -ENOMEM. Takes a hold on every region the batch names. */
  static int Parse(const uint8_t* bytes, size_t size, std::unique_ptr<Batch>* batch);

  const uint8_t* bytes() const { return bytes_.get(); }
  size_t size() const { return size_; }
  Entry* begin() { return at(0); }
  Entry* end() { return at(size_); }
  static Entry* next(Entry* entry) {
    return reinterpret_cast<Entry*>(reinterpret_cast<uint8_t*>(entry) + entry->length());
  }
  /** The regions of its IOTLB updates, in their order. */
  const std::vector<std::shared_ptr<Region>>& regions() const { return regions_; }

  uint64_t ticket = 0;
  std::atomic<bool> canceled{false};

 private:
  Batch(std::unique_ptr<uint8_t[]> bytes, size_t size) : bytes_(std::move(bytes)), size_(size) {}
  Entry* at(size_t offset) { return reinterpret_cast<Entry*>(bytes_.get() + offset); }
  bool Validate();
  bool ValidateEntry(Entry* entry);
  bool HoldRegion(const IotlbArgument& argument);

  const std::unique_ptr<uint8_t[]> bytes_;
  const size_t size_;
  std::vector<std::shared_ptr<Region>> regions_;
};

}  // namespace vdpa
