// Waiting for eventfds and timerfds on the thread's own event loop.
#include <errno.h>
#include <fcntl.h>
#include <node_api.h>
#include <unistd.h>
#include <uv.h>

#include "calls.h"
#include "env.h"

namespace vdpa {

// Owns itself: lives from Start until its handle is closed, which the loop does later than the call that asked for it.
class Watch {
 public:
  /** 0 or -errno. */
  static int Start(Napi::Function callback, int fd, Watch** watch);
  void Stop();
  uv_handle_t* handle() { return reinterpret_cast<uv_handle_t*>(&poll_); }

 private:
  Watch(Napi::Function callback, int fd);
  static void OnReadable(uv_poll_t* poll, int status, int events);
  static void OnEnvironmentEnd(napi_async_cleanup_hook_handle hook, void* watch);
  static void OnClosed(uv_handle_t* handle);
  void Call(uint64_t count);

  const Napi::Env env_;
  const int fd_;
  Napi::FunctionReference callback_;
  Napi::AsyncContext context_;
  // A live handle at a worker's end would abort the process: the environment waits until this hook is removed.
  napi_async_cleanup_hook_handle hook_ = nullptr;
  uv_poll_t poll_;
};

Watch::Watch(Napi::Function callback, int fd)
    : env_(callback.Env()), fd_(fd), callback_(Napi::Persistent(callback)), context_(env_, "vhost_vdpa.watch") {
  poll_.data = this;
}

int Watch::Start(Napi::Function callback, int fd, Watch** watch) {
  uv_loop_t* loop;
  if (napi_get_uv_event_loop(callback.Env(), &loop) != napi_ok) return -ENOSYS;
  // A number of its own: whoever closes theirs, or watches it twice, cannot confuse the loop.
  const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (own < 0) return -errno;
  Watch* started = new Watch(callback, own);
  const int result = uv_poll_init(loop, &started->poll_, own);
  if (result < 0) {
    close(own);
    delete started;
    return result;
  }
  napi_add_async_cleanup_hook(callback.Env(), OnEnvironmentEnd, started, &started->hook_);
  uv_poll_start(&started->poll_, UV_READABLE, OnReadable);
  *watch = started;
  return 0;
}

void Watch::Stop() {
  if (!uv_is_closing(handle())) uv_close(handle(), OnClosed);
}

void Watch::OnEnvironmentEnd(napi_async_cleanup_hook_handle, void* watch) {
  static_cast<Watch*>(watch)->Stop();
}

void Watch::OnClosed(uv_handle_t* handle) {
  Watch* watch = static_cast<Watch*>(handle->data);
  const napi_async_cleanup_hook_handle hook = watch->hook_;
  Napi::HandleScope scope(watch->env_);
  close(watch->fd_);
  delete watch;
  napi_remove_async_cleanup_hook(hook);
}

void Watch::OnReadable(uv_poll_t* poll, int status, int) {
  Watch* watch = static_cast<Watch*>(poll->data);
  uint64_t count = 0;
  const ssize_t length = status < 0 ? -1 : read(watch->fd_, &count, sizeof(count));
  if (length == sizeof(count)) return watch->Call(count);
  // Another reader was faster. Anything else is no counter, and would wake the loop for ever.
  if (status == 0 && length < 0 && errno == EAGAIN) return;
  uv_poll_stop(poll);
}

void Watch::Call(uint64_t count) {
  Napi::HandleScope scope(env_);
  napi_value argument = Napi::Number::New(env_, static_cast<double>(count));
  napi_value receiver = env_.Global();
  const napi_status status = napi_make_callback(env_, context_, receiver, callback_.Value(), 1, &argument, nullptr);
  napi_value exception;
  if (status == napi_pending_exception && napi_get_and_clear_last_exception(env_, &exception) == napi_ok) {
    napi_fatal_exception(env_, exception);
  }
}

Napi::Value WatchStart(const Napi::CallbackInfo& info) {
  Env& env = EnvOf(info);
  if (!info[1].IsFunction()) return Result(info, -EINVAL);
  Watch* watch = nullptr;
  const int result = Watch::Start(info[1].As<Napi::Function>(), FdArg(info, 0), &watch);
  if (result < 0) return Result(info, result);
  env.watches.emplace(++env.last_watch, watch);
  return Result(info, env.last_watch);
}

Napi::Value WatchStop(const Napi::CallbackInfo& info) {
  Env& env = EnvOf(info);
  Watch* watch = env.FindWatch(info);
  if (watch == nullptr) return Result(info, -EBADF);
  env.watches.erase(IntegerArg(info, 0));
  watch->Stop();
  return Result(info, 0);
}

Napi::Value WatchRef(const Napi::CallbackInfo& info) {
  Watch* watch = EnvOf(info).FindWatch(info);
  if (watch == nullptr) return Result(info, -EBADF);
  uv_ref(watch->handle());
  return Result(info, 0);
}

Napi::Value WatchUnref(const Napi::CallbackInfo& info) {
  Watch* watch = EnvOf(info).FindWatch(info);
  if (watch == nullptr) return Result(info, -EBADF);
  uv_unref(watch->handle());
  return Result(info, 0);
}

}  // namespace vdpa
