#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/bench/bench_report.h"
#include "tests/bench/benchmarks.h"
#include "tests/bench/encoder_run.h"

namespace longwave {
namespace {

// Above this length softmax attention takes minutes on a few cores.
constexpr int64_t kPeerTokens = 32768;

absl::StatusOr<double> MeasureEncoder(const BenchOptions& options, FeatureKind features) {
  const auto encoder = MakeBenchEncoder(options, features);
  if (!encoder.ok()) return encoder.status();
  const std::vector<int32_t> ids = BenchIds(options.tokens, options.seed);
  absl::Status status;
  const double seconds = MedianSeconds(options.repeat, [&] {
    EncoderBatch batch;
    batch.Add(ids);
    const auto rows = EncodeBatch(**encoder, std::move(batch), {OutputSpec{}});
    if (!rows.ok()) status = rows.status();
  });
  if (!status.ok()) return status;
  return seconds;
}

}  // namespace

absl::Status RunEncoderBench(const BenchOptions& options) {
  const absl::StatusOr<double> ours = MeasureEncoder(options, FeatureKind::kPrf);
  if (!ours.ok()) return ours.status();
  EncoderResult result;
  result.seconds = *ours;
  if (!options.peers) {
    result.peer_note = "peers not asked for";
  } else if (options.tokens > kPeerTokens) {
    result.peer_note =
        absl::StrCat("softmax attention above ", kPeerTokens, " tokens takes minutes");
  } else {
    const absl::StatusOr<double> peer = MeasureEncoder(options, FeatureKind::kSoftmax);
    if (!peer.ok()) return peer.status();
    result.peer = "softmax_attention";
    result.peer_seconds = *peer;
  }
  Print(options, result);
  return absl::OkStatus();
}

}  // namespace longwave
