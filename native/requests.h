// The table of requests: every system call a batch may ask for. The position of a row is its opcode.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vdpa {

enum class Kind : uint8_t { kOpen, kClose, kIoctl, kIotlb };

constexpr int32_t kOwnLength = -1;  // open, GET_CONFIG, SET_CONFIG: the entry says how long its argument is
constexpr int32_t kNoValue = -1;

struct Request {
  const char* name;
  Kind kind;
  uint32_t code;  // kIoctl: the request number; kIotlb: the message type
  int32_t size;   // bytes of argument, or kOwnLength
  int32_t value;  // where in the argument the value it reads stands, or kNoValue
};

extern const Request kRequests[];
extern const size_t kRequestCount;

}  // namespace vdpa
