// Bulk copies and comparisons of regions, through their memfds: reading a hole through a mapping would allocate it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "region.h"

namespace vdpa {

struct Range {
  uint64_t offset;
  uint64_t length;
};

constexpr uint64_t kComparePage = 4096;

/** Totals in bytes, as lib/native.ts gives them. */
struct Transfer {
  int error = 0;
  uint64_t data = 0;
  uint64_t holes = 0;
  uint64_t mismatches = 0;
  std::array<double, 16> first = {};  // the first min(mismatches, 16) are set
};

/** After it, the destination reads as the source did. EINVAL, before anything is copied, for a range out of bounds. */
Transfer Copy(const Region& from, const Region& to, const std::vector<Range>& ranges);

/** EINVAL for a range out of bounds, or not of whole pages. */
Transfer Compare(const Region& a, const Region& b, const std::vector<Range>& ranges);

}  // namespace vdpa
