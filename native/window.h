// Windows: external ArrayBuffers over a region's mapping. Each holds its region until it is detached or collected.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "region.h"

namespace vdpa {

struct Window;

/** The windows of one JavaScript thread; each shares it, since it may be finalized after the environment's data. */
using Windows = std::unordered_map<Window*, std::shared_ptr<Window>>;

/** An ArrayBuffer, or the number -EFBIG or -EOPNOTSUPP when Node refuses. The range must lie within the region. */
Napi::Value OpenWindow(Napi::Env env, const std::shared_ptr<Windows>& windows, std::shared_ptr<Region> region,
                       uint64_t offset, uint64_t length);

/** Detaches this thread's windows of the region, which gives up their holds; every view then has length 0. */
void DetachWindows(Napi::Env env, const Windows& windows, const Region* region);

}  // namespace vdpa
