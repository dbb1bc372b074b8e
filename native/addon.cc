#include "calls.h"
#include "env.h"

namespace vdpa {
namespace {

constexpr int kAbi = 2;  // lib/native.ts refuses another

template <Napi::Value (*kFunction)(const Napi::CallbackInfo&)>
void Export(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<kFunction>(exports.Env(), name));
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Env);
  exports.Set("abi", kAbi);

  Export<Requests>(exports, "requests");
  Export<DeviceCreate>(exports, "deviceCreate");
  Export<DeviceEventFd>(exports, "deviceEventFd");
  Export<DeviceSubmit>(exports, "deviceSubmit");
  Export<DeviceCancel>(exports, "deviceCancel");
  Export<DeviceReap>(exports, "deviceReap");
  Export<DeviceDestroy>(exports, "deviceDestroy");

  Export<RegionCreate>(exports, "regionCreate");
  Export<RegionOpen>(exports, "regionOpen");
  Export<RegionSize>(exports, "regionSize");
  Export<RegionFd>(exports, "regionFd");
  Export<RegionAddress>(exports, "regionAddress");
  Export<RegionView>(exports, "regionView");
  Export<RegionDetach>(exports, "regionDetach");
  Export<RegionClose>(exports, "regionClose");
  Export<RegionCopy>(exports, "regionCopy");
  Export<RegionCompare>(exports, "regionCompare");

  Export<EventfdCreate>(exports, "eventfdCreate");
  Export<EventfdWrite>(exports, "eventfdWrite");
  Export<EventfdRead>(exports, "eventfdRead");
  Export<TimerfdCreate>(exports, "timerfdCreate");
  Export<TimerfdSet>(exports, "timerfdSet");
  Export<FdClose>(exports, "fdClose");

  Export<WatchStart>(exports, "watchStart");
  Export<WatchStop>(exports, "watchStop");
  Export<WatchRef>(exports, "watchRef");
  Export<WatchUnref>(exports, "watchUnref");
  return exports;
}

}  // namespace

NODE_API_MODULE(vhost_vdpa, Init)

}  // namespace vdpa
