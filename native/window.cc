#include "window.h"

#include <errno.h>

#include <vector>

namespace vdpa {

struct Window {
  std::shared_ptr<Region> region;  // null once detached
  std::shared_ptr<Windows> owner;
  napi_ref buffer = nullptr;  // weak
};

namespace {

// Runs once per window, in any case: after a detach too, and at the environment's end.
void Finalize(napi_env env, void*, void* hint) {
  Window* window = static_cast<Window*>(hint);
  if (window->buffer != nullptr) napi_delete_reference(env, window->buffer);
  const std::shared_ptr<Windows> owner = window->owner;
  owner->erase(window);
}

Napi::Value Refused(Napi::Env env, napi_status status) {
  bool pending = false;
  napi_value exception;
  napi_is_exception_pending(env, &pending);
  if (pending) napi_get_and_clear_last_exception(env, &exception);
  return Napi::Number::New(env, status == napi_no_external_buffers_allowed ? -EOPNOTSUPP : -EFBIG);
}

void Detach(Napi::Env env, Window* window) {
  napi_value buffer = nullptr;
  bool detached = true;
  // Collected, or moved away with transfer(): then something else may still reach the memory, until it is finalized.
  if (napi_get_reference_value(env, window->buffer, &buffer) != napi_ok || buffer == nullptr) return;
  if (napi_is_detached_arraybuffer(env, buffer, &detached) != napi_ok || detached) return;
  if (napi_detach_arraybuffer(env, buffer) == napi_ok) window->region.reset();
}

}  // namespace

Napi::Value OpenWindow(Napi::Env env, const std::shared_ptr<Windows>& windows, std::shared_ptr<Region> region,
                       uint64_t offset, uint64_t length) {
  uint8_t* start = region->base + offset;
  const auto window = std::make_shared<Window>(Window{std::move(region), windows});
  windows->emplace(window.get(), window);
  napi_value buffer;
  // When it is refused, the finalizer has run before this returns (Node 20, above 4 GiB), or runs later, or never.
  const napi_status status = napi_create_external_arraybuffer(env, start, length, Finalize, window.get(), &buffer);
  if (status != napi_ok) {
    window->region.reset();
    return Refused(env, status);
  }
  napi_create_reference(env, buffer, 0, &window->buffer);
  return Napi::Value(env, buffer);
}

void DetachWindows(Napi::Env env, const Windows& windows, const Region* region) {
  // Not the set itself: a detach may run a finalizer, which takes its window from there.
  std::vector<std::shared_ptr<Window>> detachable;
  for (const auto& [key, window] : windows) {
    if (window->region.get() == region) detachable.push_back(window);
  }
  for (const auto& window : detachable) Detach(env, window.get());
}

}  // namespace vdpa
