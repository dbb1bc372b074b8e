#include <errno.h>

#include <algorithm>

#include "calls.h"
#include "env.h"
#include "transfer.h"

namespace vdpa {
namespace {

constexpr double kMaxSafeInteger = 9007199254740991;

bool IsSafe(double value) {
  return value >= 0 && value <= kMaxSafeInteger;
}

using TransferFunction = Transfer (*)(const Region&, const Region&, const std::vector<Range>&);

// Runs on the thread pool; holds both regions, so that they may be closed meanwhile.
class TransferWork : public Napi::AsyncWorker {
 public:
  TransferWork(Napi::Env env, TransferFunction function, std::shared_ptr<Region> a, std::shared_ptr<Region> b,
               std::vector<Range> ranges)
      : Napi::AsyncWorker(env, "vhost_vdpa.transfer"),
        deferred_(Napi::Promise::Deferred::New(env)),
        function_(function),
        a_(std::move(a)),
        b_(std::move(b)),
        ranges_(std::move(ranges)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override { total_ = function_(*a_, *b_, ranges_); }
  void OnOK() override;

 private:
  const Napi::Promise::Deferred deferred_;
  const TransferFunction function_;
  const std::shared_ptr<Region> a_, b_;
  const std::vector<Range> ranges_;
  Transfer total_;
};

Napi::Object ToObject(Napi::Env env, const Transfer& total) {
  const size_t count = std::min<size_t>(total.mismatches, total.first.size());
  Napi::Float64Array first = Napi::Float64Array::New(env, count);
  std::copy_n(total.first.begin(), count, first.Data());
  Napi::Object object = Napi::Object::New(env);
  object.Set("errno", total.error);
  object.Set("data", static_cast<double>(total.data));
  object.Set("holes", static_cast<double>(total.holes));
  object.Set("mismatches", static_cast<double>(total.mismatches));
  object.Set("first", first);
  return object;
}

void TransferWork::OnOK() {
  deferred_.Resolve(ToObject(Env(), total_));
}

// Pairs of offset and length; false for anything else.
bool RangesArg(const Napi::Value& value, std::vector<Range>* ranges) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array) return false;
  const Napi::Float64Array pairs = value.As<Napi::Float64Array>();
  if (pairs.ElementLength() % 2 != 0) return false;
  ranges->reserve(pairs.ElementLength() / 2);
  for (size_t i = 0; i < pairs.ElementLength(); i += 2) {
    const double offset = pairs[i], length = pairs[i + 1];
    if (!IsSafe(offset) || !IsSafe(length)) return false;
    ranges->push_back({static_cast<uint64_t>(offset), static_cast<uint64_t>(length)});
  }
  return true;
}

Napi::Value Failed(Napi::Env env, int error) {
  Transfer total;
  total.error = error;
  Napi::Promise::Deferred deferred = Napi::Promise::Deferred::New(env);
  deferred.Resolve(ToObject(env, total));
  return deferred.Promise();
}

Napi::Value Queue(const Napi::CallbackInfo& info, TransferFunction function) {
  std::shared_ptr<Region> a = FindRegion(static_cast<uint64_t>(IntegerArg(info, 0)));
  std::shared_ptr<Region> b = FindRegion(static_cast<uint64_t>(IntegerArg(info, 1)));
  std::vector<Range> ranges;
  if (a == nullptr || b == nullptr) return Failed(info.Env(), EBADF);
  if (!RangesArg(info[2], &ranges)) return Failed(info.Env(), EINVAL);
  auto* work = new TransferWork(info.Env(), function, std::move(a), std::move(b), std::move(ranges));
  Napi::Promise promise = work->promise();
  work->Queue();
  return promise;
}

}  // namespace

Napi::Value RegionCopy(const Napi::CallbackInfo& info) {
  return Queue(info, Copy);
}

Napi::Value RegionCompare(const Napi::CallbackInfo& info) {
  return Queue(info, Compare);
}

}  // namespace vdpa
