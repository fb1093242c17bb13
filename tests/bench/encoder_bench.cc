#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"
#include "model/encoder/transformer_encoder.h"
#include "tests/bench/bench_report.h"
#include "tests/bench/benchmarks.h"
#include "tests/bench/random_model.h"

namespace longwave {
namespace {

// Above this length softmax attention takes minutes on a few cores.
constexpr int64_t kPeerTokens = 32768;

// Keeps the first failure; the rows themselves are not looked at.
class CountingSink final : public RowSink {
 public:
  Answer Offer(int sequence, int64_t first_row, RowBlock rows) override {
    rows_ += rows.rows;
    return Answer::kTaken;
  }
  void Finish(int sequence, const SequenceReport& report) override {}
  void Fail(int sequence, absl::Status status) override { status_ = std::move(status); }

  int64_t rows() const { return rows_; }
  const absl::Status& status() const { return status_; }

 private:
  int64_t rows_ = 0;
  absl::Status status_;
};

absl::Status EncodeOnce(Encoder& encoder, const std::vector<int32_t>& ids) {
  EncoderBatch batch;
  batch.Add(ids);
  CountingSink sink;
  auto job = encoder.Begin(std::move(batch), {OutputSpec{}}, &sink);
  if (!job.ok()) return job.status();
  while (true) {
    const absl::StatusOr<EncodeJob::State> state = (*job)->Step();
    if (!state.ok()) return state.status();
    if (*state == EncodeJob::State::kDone) break;
  }
  if (!sink.status().ok()) return sink.status();
  if (sink.rows() == 1) return absl::OkStatus();
  return MakeError(ErrorReason::kInternal, absl::StrCat("expected one row, got ", sink.rows()));
}

absl::StatusOr<double> MeasureEncoder(const BenchOptions& options, FeatureKind features) {
  TransformerEncoderOptions encoder_options;
  encoder_options.device = "cpu";
  encoder_options.threads = options.threads;
  auto encoder = TransformerEncoder::Create(RandomModel(options, features), encoder_options);
  if (!encoder.ok()) return encoder.status();
  std::vector<int32_t> ids(options.tokens);
  for (int64_t i = 0; i < options.tokens; ++i) ids[i] = static_cast<int32_t>((i * 131 + 7) % 256);
  absl::Status status;
  const double seconds = MedianSeconds(options.repeat, [&] {
    if (status.ok()) status = EncodeOnce(**encoder, ids);
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
