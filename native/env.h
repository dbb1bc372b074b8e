// What one JavaScript thread owns, and the conventions of every exported function.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "window.h"

namespace vdpa {

class Device;
class Watch;

/** Instance data. Goes with the environment: at process exit, or when a worker ends. */
struct Env {
  ~Env();

  std::unordered_map<int64_t, std::shared_ptr<Device>> devices;
  // Watches close themselves before the environment goes (watch.cc).
  std::unordered_map<int64_t, Watch*> watches;
  std::shared_ptr<Windows> windows = std::make_shared<Windows>();
  int64_t last_device = 0;
  int64_t last_watch = 0;

  Device* FindDevice(const Napi::CallbackInfo& info);
  Watch* FindWatch(const Napi::CallbackInfo& info);
};

inline Env& EnvOf(const Napi::CallbackInfo& info) {
  return *info.Env().GetInstanceData<Env>();
}

/** An argument that is an integer of 0…2^53-1; otherwise -1, which no function takes. */
int64_t IntegerArg(const Napi::CallbackInfo& info, size_t index);
/** An argument that may be a file descriptor; otherwise -1, to which system calls answer EBADF. */
int FdArg(const Napi::CallbackInfo& info, size_t index);

/** A result >= 0 or -errno. */
inline Napi::Value Result(const Napi::CallbackInfo& info, int64_t value) {
  return Napi::Number::New(info.Env(), static_cast<double>(value));
}

}  // namespace vdpa
