#include "model/encoder/warm_up.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "model/base/clock.h"
#include "model/encoder/device.h"
#include "model/encoder/stage_costs.h"

namespace longwave {
namespace {

// Long enough for several slices of every route and for full row tiles on all threads, short enough
// for the textbook FFT (about 0.5 s a layer at 1024 tokens on two cores).
constexpr int64_t kTokens = 1024;
// `direct` does n^2 work in double without matrix products.
constexpr int64_t kDirectTokens = 128;

class IgnoreRows final : public RowSink {
 public:
  Answer Offer(int, int64_t, RowBlock) override { return Answer::kTaken; }
  void Finish(int, const SequenceReport&) override {}
  void Fail(int, absl::Status status) override { error_ = std::move(status); }
  const absl::Status& error() const { return error_; }

 private:
  absl::Status error_;
};

struct RunTimes {
  double total_seconds = 0;
  double slice_seconds = 0;  // the longest
};

absl::StatusOr<RunTimes> TimeRun(Encoder& encoder, int64_t tokens, Route route,
                                 const Clock& clock) {
  std::vector<int32_t> ids(tokens);
  for (int64_t i = 0; i < tokens; ++i) {
    ids[i] = static_cast<int32_t>(i * 7919 % encoder.Info().vocab_size);
  }
  EncoderBatch batch;
  batch.Add(ids, route);
  IgnoreRows sink;
  RunTimes times;
  const Instant start = clock.Now();
  auto job = encoder.Begin(std::move(batch), {OutputSpec{}}, &sink);
  if (!job.ok()) return job.status();
  for (EncodeJob::State state = EncodeJob::State::kMore; state != EncodeJob::State::kDone;) {
    const Instant slice_start = clock.Now();
    const absl::StatusOr<EncodeJob::State> next = (*job)->Step();
    if (!next.ok()) return next.status();
    state = *next;
    times.slice_seconds = std::max(times.slice_seconds, ToSeconds(clock.Now() - slice_start));
  }
  times.total_seconds = ToSeconds(clock.Now() - start);
  if (!sink.error().ok()) return sink.error();
  return times;
}

absl::StatusOr<RunTimes> TimeSecondRun(Encoder& encoder, int64_t tokens, Route route,
                                       const Clock& clock) {
  if (absl::StatusOr<RunTimes> first = TimeRun(encoder, tokens, route, clock); !first.ok())
    return first;
  return TimeRun(encoder, tokens, route, clock);
}

// FLOPs a second of all threads on the dense halves of the first layer.
double MeasureDense(const Transformer& transformer, ComputePool* pool, const Clock& clock) {
  DeviceStream stream(transformer.device());
  const SliceScope scope(stream);
  const TransformerLayer& layer = transformer.layer(0);
  const int64_t height = transformer.tile_rows();
  const int64_t tiles = pool == nullptr ? 4 : int64_t{8} * pool->threads();
  const auto options = at::TensorOptions(at::kFloat).device(transformer.device());
  const at::Tensor x = at::zeros({tiles * height, transformer.config().hidden_size}, options);
  const at::Tensor qkv = at::zeros({tiles * height, 3 * transformer.heads_width()}, options);
  const auto tile = [&](int64_t t, int) {
    const at::Tensor rows = x.narrow(0, t * height, height);
    const at::Tensor projected = qkv.narrow(0, t * height, height);
    layer.ProjectQkv(rows, projected);
    layer.Finish(projected.narrow(1, 0, transformer.heads_width()), rows);
  };
  const auto run = [&] {
    if (pool != nullptr) return pool->ParallelFor(tiles, tile);
    for (int64_t t = 0; t < tiles; ++t) tile(t, 0);
    stream.Synchronize();
  };
  run();
  const Instant start = clock.Now();
  run();
  const double seconds = ToSeconds(clock.Now() - start);
  return static_cast<double>(tiles * height) *
         (layer.QkvFlopsPerRow() + layer.FinishFlopsPerRow()) / seconds;
}

bool IsPlanned(const Encoder& encoder, Route route) {
  for (int64_t tokens = 1; tokens <= encoder.Info().max_tokens; tokens *= 2) {
    if (encoder.Predict(tokens, OutputSpec{}, Route::kAuto).route == route) return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<WarmUpResult> RunWarmUp(Encoder& encoder, const Transformer& transformer,
                                       ComputePool* pool, const SequenceCostModel& cost,
                                       const Clock& clock) {
  WarmUpResult result;
  MeasuredRates& rates = result.rates;
  rates.dense_flops = MeasureDense(transformer, pool, clock);
  const int64_t longest = encoder.Info().max_tokens;
  for (const Route route : encoder.Info().routes) {
    const int64_t tokens = std::min(route == Route::kDirect ? kDirectTokens : kTokens, longest);
    if (!encoder.CheckRoute(tokens, route).ok()) continue;
    const absl::StatusOr<RunTimes> times = TimeSecondRun(encoder, tokens, route, clock);
    if (!times.ok()) return times.status();
    const double dense_seconds = cost.DenseFlops(tokens, transformer.layers()) / rates.dense_flops;
    // The dense part is a fraction of the whole; where noise makes it the whole, a tenth is left.
    const double attention_seconds =
        std::max(times->total_seconds - dense_seconds, 0.1 * times->total_seconds);
    rates.route_flops[static_cast<size_t>(route)] =
        cost.AttentionFlops(tokens, route) / attention_seconds;
    if (IsPlanned(encoder, route)) {
      result.max_slice_seconds = std::max(result.max_slice_seconds, times->slice_seconds);
    }
  }
  const absl::StatusOr<RunTimes> one = TimeSecondRun(encoder, 1, Route::kAuto, clock);
  if (!one.ok()) return one.status();
  const int threads = pool == nullptr ? 1 : pool->threads();
  rates.job_seconds = std::max(0.0, one->total_seconds - cost.DenseFlops(1, transformer.layers()) *
                                                             threads / rates.dense_flops);
  return result;
}

}  // namespace longwave
