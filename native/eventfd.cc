// eventfds and timerfds: counters in the kernel, passed between threads and to devices by their number.
#include <errno.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "calls.h"
#include "env.h"

namespace vdpa {
namespace {

constexpr int64_t kSecond = 1000000000;

int64_t OrErrno(int64_t result) {
  return result < 0 ? -errno : result;
}

}  // namespace

Napi::Value EventfdCreate(const Napi::CallbackInfo& info) {
  return Result(info, OrErrno(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
}

Napi::Value EventfdWrite(const Napi::CallbackInfo& info) {
  const uint64_t one = 1;
  const int64_t written = OrErrno(write(FdArg(info, 0), &one, sizeof(one)));
  return Result(info, written > 0 ? 0 : written);
}

Napi::Value EventfdRead(const Napi::CallbackInfo& info) {
  uint64_t count = 0;
  const int64_t length = OrErrno(read(FdArg(info, 0), &count, sizeof(count)));
  return Result(info, length < 0 ? length : static_cast<int64_t>(count));
}

Napi::Value TimerfdCreate(const Napi::CallbackInfo& info) {
  return Result(info, OrErrno(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)));
}

Napi::Value TimerfdSet(const Napi::CallbackInfo& info) {
  const int64_t ns = IntegerArg(info, 1);
  if (ns < 0) return Result(info, -EINVAL);
  itimerspec once = {};
  once.it_value.tv_sec = static_cast<time_t>(ns / kSecond);
  once.it_value.tv_nsec = static_cast<long>(ns % kSecond);
  return Result(info, OrErrno(timerfd_settime(FdArg(info, 0), 0, &once, nullptr)));
}

Napi::Value FdClose(const Napi::CallbackInfo& info) {
  return Result(info, OrErrno(close(FdArg(info, 0))));
}

}  // namespace vdpa
