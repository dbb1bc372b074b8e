// Every exported function, in the order of lib/native.ts, which says what each takes and answers.
#pragma once

#include <napi.h>

namespace vdpa {

// calls_device.cc
Napi::Value Requests(const Napi::CallbackInfo& info);
Napi::Value DeviceCreate(const Napi::CallbackInfo& info);
Napi::Value DeviceEventFd(const Napi::CallbackInfo& info);
Napi::Value DeviceSubmit(const Napi::CallbackInfo& info);
Napi::Value DeviceCancel(const Napi::CallbackInfo& info);
Napi::Value DeviceReap(const Napi::CallbackInfo& info);
Napi::Value DeviceDestroy(const Napi::CallbackInfo& info);

// calls_region.cc
Napi::Value RegionCreate(const Napi::CallbackInfo& info);
Napi::Value RegionOpen(const Napi::CallbackInfo& info);
Napi::Value RegionSize(const Napi::CallbackInfo& info);
Napi::Value RegionFd(const Napi::CallbackInfo& info);
Napi::Value RegionAddress(const Napi::CallbackInfo& info);
Napi::Value RegionView(const Napi::CallbackInfo& info);
Napi::Value RegionDetach(const Napi::CallbackInfo& info);
Napi::Value RegionClose(const Napi::CallbackInfo& info);

// calls_transfer.cc
Napi::Value RegionCopy(const Napi::CallbackInfo& info);
Napi::Value RegionCompare(const Napi::CallbackInfo& info);

// eventfd.cc
Napi::Value EventfdCreate(const Napi::CallbackInfo& info);
Napi::Value EventfdWrite(const Napi::CallbackInfo& info);
Napi::Value EventfdRead(const Napi::CallbackInfo& info);
Napi::Value TimerfdCreate(const Napi::CallbackInfo& info);
Napi::Value TimerfdSet(const Napi::CallbackInfo& info);
Napi::Value FdClose(const Napi::CallbackInfo& info);

// watch.cc
Napi::Value WatchStart(const Napi::CallbackInfo& info);
Napi::Value WatchStop(const Napi::CallbackInfo& info);
Napi::Value WatchRef(const Napi::CallbackInfo& info);
Napi::Value WatchUnref(const Napi::CallbackInfo& info);

}  // namespace vdpa
