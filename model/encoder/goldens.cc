#include "model/encoder/goldens.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/encoder/compute_type.h"

namespace longwave {
namespace {

// `direct` is quadratic and does without matrix products: 4096 tokens would add a minute to the
// start of a server, 1024 add three seconds (4 layers, 4 heads, one thread).
constexpr int64_t kMaxDirectTokens = 1024;

// Keeps the rows of every sequence.
class KeepRows final : public RowSink {
 public:
  explicit KeepRows(int sequences) : rows_(sequences) {}

  Answer Offer(int sequence, int64_t, RowBlock rows) override {
    rows_[sequence].insert(rows_[sequence].end(), rows.values.begin(), rows.values.end());
    return Answer::kTaken;
  }
  void Finish(int, const SequenceReport&) override {}
  void Fail(int, absl::Status status) override { error_.Update(std::move(status)); }

  const std::vector<float>& rows(int sequence) const { return rows_[sequence]; }
  const absl::Status& error() const { return error_; }

 private:
  std::vector<std::vector<float>> rows_;
  absl::Status error_;
};

absl::Status RunToEnd(EncodeJob& job) {
  while (true) {
    const absl::StatusOr<EncodeJob::State> state = job.Step();
    if (!state.ok()) return state.status();
    if (*state == EncodeJob::State::kDone) return absl::OkStatus();
  }
}

// `tolerance_factor`: of the encoder's compute type over fp32, for which tolerances are stored.
absl::Status CompareGolden(const GoldenVector& golden, absl::Span<const float> actual,
                           double tolerance_factor, absl::string_view where) {
  const int64_t output_rows = golden.output.RowCount(static_cast<int64_t>(golden.token_ids.size()));
  const int64_t dim = static_cast<int64_t>(actual.size()) / output_rows;
  if (golden.values.size() != golden.rows.size() * dim) {
    return absl::FailedPreconditionError(absl::StrCat(where, " holds ", golden.values.size(),
                                                      " values for ", golden.rows.size(),
                                                      " rows of ", dim));
  }
  double worst = 0;
  for (size_t r = 0; r < golden.rows.size(); ++r) {
    if (golden.rows[r] < 0 || golden.rows[r] >= output_rows) {
      return absl::FailedPreconditionError(
          absl::StrCat(where, " names row ", golden.rows[r], " of ", output_rows));
    }
    for (int64_t c = 0; c < dim; ++c) {
      const double difference =
          std::abs(actual[golden.rows[r] * dim + c] - golden.values[r * dim + c]);
      // A NaN is worse than any number.
      if (!(difference <= worst)) {
        worst = std::isnan(difference) ? std::numeric_limits<double>::infinity() : difference;
      }
    }
  }
  const double tolerance = golden.tolerance * tolerance_factor;
  if (worst <= tolerance) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(where, " is not reproduced: worst difference ",
                                                    worst, ", tolerance ", tolerance));
}

absl::Status VerifyRoute(Encoder& encoder, const ServingConfig& serving, Route route) {
  EncoderBatch batch;
  std::vector<OutputSpec> outputs;
  std::vector<int> goldens;
  for (int g = 0; g < static_cast<int>(serving.goldens.size()); ++g) {
    const GoldenVector& golden = serving.goldens[g];
    const auto tokens = static_cast<int64_t>(golden.token_ids.size());
    if (route == Route::kDirect && tokens > kMaxDirectTokens) continue;
    if (!encoder.CheckRoute(tokens, route).ok()) continue;
    batch.Add(golden.token_ids, route);
    outputs.push_back(golden.output);
    goldens.push_back(g);
  }
  if (goldens.empty()) return absl::OkStatus();
  KeepRows sink(static_cast<int>(goldens.size()));
  auto job = encoder.Begin(std::move(batch), std::move(outputs), &sink);
  if (!job.ok()) return job.status();
  if (absl::Status status = RunToEnd(**job); !status.ok()) return status;
  if (!sink.error().ok()) return sink.error();
  const absl::StatusOr<ComputeType> compute = ParseComputeType(encoder.Info().compute_dtype);
  if (!compute.ok()) return compute.status();
  const double factor = ToleranceFactor(*compute, encoder.Info().dim);
  for (size_t i = 0; i < goldens.size(); ++i) {
    const GoldenVector& golden = serving.goldens[goldens[i]];
    const std::string where = absl::StrCat("golden ", goldens[i], " (", golden.token_ids.size(),
                                           " tokens) by route ", RouteName(route));
    absl::Status status = CompareGolden(golden, sink.rows(static_cast<int>(i)), factor, where);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status VerifyGoldens(Encoder& encoder, const ServingConfig& serving) {
  for (const Route route : encoder.Info().routes) {
    // Not exact: its certificate stands for it.
    if (route == Route::kInterpolation) continue;
    if (absl::Status status = VerifyRoute(encoder, serving, route); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace longwave
