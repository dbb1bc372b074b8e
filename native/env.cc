#include "env.h"

#include <limits.h>

#include <cmath>

#include "device.h"

namespace vdpa {
namespace {

constexpr double kMaxSafeInteger = 9007199254740991;

template <typename Map>
auto Find(const Map& map, int64_t handle) {
  auto found = map.find(handle);
  return found == map.end() ? typename Map::mapped_type() : found->second;
}

}  // namespace

Env::~Env() {
  for (auto& [handle, device] : devices) device->Retire();
}

Device* Env::FindDevice(const Napi::CallbackInfo& info) {
  return Find(devices, IntegerArg(info, 0)).get();
}

Watch* Env::FindWatch(const Napi::CallbackInfo& info) {
  return Find(watches, IntegerArg(info, 0));
}

int64_t IntegerArg(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsNumber()) return -1;
  const double value = info[index].As<Napi::Number>().DoubleValue();
  const bool integer = value >= 0 && value <= kMaxSafeInteger && std::trunc(value) == value;
  return integer ? static_cast<int64_t>(value) : -1;
}

int FdArg(const Napi::CallbackInfo& info, size_t index) {
  const int64_t value = IntegerArg(info, index);
  return value <= INT_MAX ? static_cast<int>(value) : -1;
}

}  // namespace vdpa
