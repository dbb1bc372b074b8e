#include <errno.h>

#include <cstring>

#include "batch.h"
#include "calls.h"
#include "device.h"
#include "env.h"
#include "requests.h"

namespace vdpa {

Napi::Value Requests(const Napi::CallbackInfo& info) {
  Napi::Array rows = Napi::Array::New(info.Env(), kRequestCount);
  for (uint32_t opcode = 0; opcode < kRequestCount; opcode++) {
    const Request& request = kRequests[opcode];
    Napi::Object row = Napi::Object::New(info.Env());
    row.Set("name", request.name);
    row.Set("number", request.kind == Kind::kIoctl ? request.code : 0);
    row.Set("size", request.size);
    rows.Set(opcode, row);
  }
  return rows;
}

Napi::Value DeviceCreate(const Napi::CallbackInfo& info) {
  Env& env = EnvOf(info);
  std::shared_ptr<Device> device;
  const int result = Device::Start(&device);
  if (result < 0) return Result(info, result);
  env.devices.emplace(++env.last_device, std::move(device));
  return Result(info, env.last_device);
}

Napi::Value DeviceEventFd(const Napi::CallbackInfo& info) {
  Device* device = EnvOf(info).FindDevice(info);
  return Result(info, device == nullptr ? -EBADF : device->event_fd());
}

Napi::Value DeviceSubmit(const Napi::CallbackInfo& info) {
  Device* device = EnvOf(info).FindDevice(info);
  if (device == nullptr) return Result(info, -EBADF);
  if (!info[1].IsTypedArray() || info[1].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    return Result(info, -EINVAL);
  }
  Napi::Uint8Array bytes = info[1].As<Napi::Uint8Array>();
  std::unique_ptr<Batch> batch;
  const int result = Batch::Parse(bytes.Data(), bytes.ByteLength(), &batch);
  return Result(info, result < 0 ? result : device->Submit(std::move(batch)));
}

Napi::Value DeviceCancel(const Napi::CallbackInfo& info) {
  Device* device = EnvOf(info).FindDevice(info);
  const int64_t ticket = IntegerArg(info, 1);
  if (device == nullptr) return Result(info, -EBADF);
  return Result(info, ticket < 0 ? -EINVAL : device->Cancel(static_cast<uint64_t>(ticket)));
}

Napi::Value DeviceReap(const Napi::CallbackInfo& info) {
  Device* device = EnvOf(info).FindDevice(info);
  std::unique_ptr<Batch> batch = device == nullptr ? nullptr : device->Reap();
  if (batch == nullptr) return info.Env().Undefined();
  Napi::Uint8Array bytes = Napi::Uint8Array::New(info.Env(), batch->size());
  std::memcpy(bytes.Data(), batch->bytes(), batch->size());
  return bytes;
}

Napi::Value DeviceDestroy(const Napi::CallbackInfo& info) {
  Env& env = EnvOf(info);
  auto found = env.devices.find(IntegerArg(info, 0));
  if (found == env.devices.end()) return Result(info, -EBADF);
  found->second->Retire();
  env.devices.erase(found);
  return Result(info, 0);
}

}  // namespace vdpa
