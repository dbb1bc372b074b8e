#include <errno.h>

#include <string>

#include "calls.h"
#include "env.h"
#include "region.h"
#include "window.h"

namespace vdpa {
namespace {

// Arguments of the wrong type are -1, an id that is never given.
std::shared_ptr<Region> RegionArg(const Napi::CallbackInfo& info) {
  return FindRegion(static_cast<uint64_t>(IntegerArg(info, 0)));
}

using Make = int (*)(const char* text, uint64_t size, std::shared_ptr<Region>* region);

Napi::Value NewRegion(const Napi::CallbackInfo& info, Make make) {
  const int64_t size = IntegerArg(info, 1);
  if (!info[0].IsString() || size < 0) return Result(info, -EINVAL);
  const std::string text = info[0].As<Napi::String>().Utf8Value();
  std::shared_ptr<Region> region;
  const int result = make(text.c_str(), static_cast<uint64_t>(size), &region);
  return Result(info, result < 0 ? result : int64_t{AddRegion(std::move(region))});
}

}  // namespace

Napi::Value RegionCreate(const Napi::CallbackInfo& info) {
  return NewRegion(info, Region::Create);
}

Napi::Value RegionOpen(const Napi::CallbackInfo& info) {
  return NewRegion(info, Region::Open);
}

Napi::Value RegionSize(const Napi::CallbackInfo& info) {
  std::shared_ptr<Region> region = RegionArg(info);
  return Result(info, region == nullptr ? -EBADF : static_cast<int64_t>(region->size));
}

Napi::Value RegionFd(const Napi::CallbackInfo& info) {
  std::shared_ptr<Region> region = RegionArg(info);
  return Result(info, region == nullptr ? -EBADF : region->fd);
}

Napi::Value RegionAddress(const Napi::CallbackInfo& info) {
  std::shared_ptr<Region> region = RegionArg(info);
  return Result(info, region == nullptr ? -EBADF : reinterpret_cast<intptr_t>(region->base));
}

Napi::Value RegionView(const Napi::CallbackInfo& info) {
  std::shared_ptr<Region> region = RegionArg(info);
  if (region == nullptr) return Result(info, -EBADF);
  const int64_t offset = IntegerArg(info, 1);
  const int64_t length = IntegerArg(info, 2);
  const int64_t max_length = IntegerArg(info, 3);
  if (offset < 0 || length <= 0 || max_length < 0) return Result(info, -EINVAL);
  if (!region->Contains(static_cast<uint64_t>(offset), static_cast<uint64_t>(length))) return Result(info, -EINVAL);
  if (length > max_length) return Result(info, -EFBIG);
  return OpenWindow(info.Env(), EnvOf(info).windows, std::move(region), static_cast<uint64_t>(offset),
                    static_cast<uint64_t>(length));
}

Napi::Value RegionDetach(const Napi::CallbackInfo& info) {
  std::shared_ptr<Region> region = RegionArg(info);
  if (region == nullptr) return Result(info, -EBADF);
  DetachWindows(info.Env(), *EnvOf(info).windows, region.get());
  return Result(info, 0);
}

Napi::Value RegionClose(const Napi::CallbackInfo& info) {
  std::shared_ptr<Region> region = TakeRegion(static_cast<uint64_t>(IntegerArg(info, 0)));
  if (region == nullptr) return Result(info, -EBADF);
  DetachWindows(info.Env(), *EnvOf(info).windows, region.get());
  return Result(info, 0);
}

}  // namespace vdpa
