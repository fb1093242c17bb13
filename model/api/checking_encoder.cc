#include "model/api/checking_encoder.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"

namespace longwave {
namespace {

// What the reference said of one sequence.
struct ReferenceRows {
  std::vector<float> values;
  int64_t dim = 0;
  bool finished = false;
};

// Keeps all rows of the reference. A sequence that the reference fails is failed for good.
class ReferenceSink final : public RowSink {
 public:
  ReferenceSink(int sequences, RowSink* out) : rows_(sequences), out_(*out) {}

  Answer Offer(int sequence, int64_t first_row, RowBlock rows) override {
    ReferenceRows& kept = rows_[sequence];
    kept.values.insert(kept.values.end(), rows.values.begin(), rows.values.end());
    kept.dim = rows.dim;
    return Answer::kTaken;
  }
  void Finish(int sequence, const SequenceReport& report) override {
    rows_[sequence].finished = true;
  }
  void Fail(int sequence, absl::Status status) override { out_.Fail(sequence, std::move(status)); }

  const ReferenceRows& rows(int sequence) const { return rows_[sequence]; }

 private:
  std::vector<ReferenceRows> rows_;
  RowSink& out_;
};

// Passes on rows that agree with the reference; ends a sequence at the first that does not.
class ComparingSink final : public RowSink {
 public:
  ComparingSink(const ReferenceSink* reference, double tolerance, int sequences, RowSink* out)
      : reference_(*reference),
        tolerance_(tolerance),
        ended_(sequences, false),
        passed_rows_(sequences, 0),
        out_(*out) {}

  Answer Offer(int sequence, int64_t first_row, RowBlock rows) override {
    if (ended_[sequence]) return Answer::kTaken;
    if (absl::Status status = Compare(sequence, first_row, rows); !status.ok()) {
      Disagree(sequence, std::move(status));
      return Answer::kTaken;
    }
    const Answer answer = out_.Offer(sequence, first_row, rows);
    if (answer == Answer::kTaken) passed_rows_[sequence] = first_row + rows.rows;
    return answer;
  }
  void Finish(int sequence, const SequenceReport& report) override {
    if (ended_[sequence]) return;
    const ReferenceRows& expected = reference_.rows(sequence);
    if (passed_rows_[sequence] * expected.dim != static_cast<int64_t>(expected.values.size())) {
      Disagree(sequence, MakeError(ErrorReason::kInternal, "the reference gives more rows"));
      return;
    }
    ended_[sequence] = true;
    out_.Finish(sequence, report);
  }
  void Fail(int sequence, absl::Status status) override {
    if (ended_[sequence]) return;
    ended_[sequence] = true;
    out_.Fail(sequence, std::move(status));
  }

  // No further call for this sequence goes out.
  void End(int sequence) { ended_[sequence] = true; }
  bool ended(int sequence) const { return ended_[sequence]; }
  // The sequences that were failed for disagreement since the last call.
  std::vector<int> TakeDisagreed() { return std::exchange(disagreed_, {}); }

 private:
  void Disagree(int sequence, absl::Status status) {
    ended_[sequence] = true;
    disagreed_.push_back(sequence);
    out_.Fail(sequence, std::move(status));
  }

  absl::Status Compare(int sequence, int64_t first_row, RowBlock rows) const {
    const ReferenceRows& expected = reference_.rows(sequence);
    const size_t end = static_cast<size_t>((first_row + rows.rows) * rows.dim);
    if (rows.dim != expected.dim || end > expected.values.size()) {
      return MakeError(ErrorReason::kInternal, "the reference gives rows of another shape");
    }
    for (int64_t r = 0; r < rows.rows; ++r) {
      const float* actual = rows.values.data() + r * rows.dim;
      const float* wanted = expected.values.data() + (first_row + r) * rows.dim;
      double distance = 0;
      double magnitude = 0;
      bool is_number = true;
      for (int64_t i = 0; i < rows.dim; ++i) {
        distance = std::max(distance, std::abs(static_cast<double>(actual[i]) - wanted[i]));
        magnitude = std::max(magnitude, std::abs(static_cast<double>(wanted[i])));
        is_number = is_number && std::isfinite(actual[i]) && std::isfinite(wanted[i]);
      }
      if (is_number && distance <= tolerance_ * magnitude) continue;
      return MakeError(ErrorReason::kInternal,
                       absl::StrCat("row ", first_row + r, " is off the reference by ", distance,
                                    ", allowed ", tolerance_ * magnitude));
    }
    return absl::OkStatus();
  }

  const ReferenceSink& reference_;
  const double tolerance_;
  std::vector<bool> ended_;
  std::vector<int64_t> passed_rows_;
  std::vector<int> disagreed_;
  RowSink& out_;
};

class CheckingJob final : public EncodeJob {
 public:
  CheckingJob(double tolerance, int sequences, RowSink* sink)
      : sequences_(sequences),
        reference_sink_(sequences, sink),
        comparing_sink_(&reference_sink_, tolerance, sequences, sink) {}

  RowSink* reference_sink() { return &reference_sink_; }
  RowSink* comparing_sink() { return &comparing_sink_; }
  void Start(std::unique_ptr<EncodeJob> reference, std::unique_ptr<EncodeJob> primary) {
    reference_ = std::move(reference);
    primary_ = std::move(primary);
  }

  absl::StatusOr<State> Step() override {
    if (reference_over_) return StepPrimary();
    absl::StatusOr<State> state = reference_->Step();
    if (!state.ok()) return state;
    if (*state == State::kDone) EndReference();
    return AllEnded() ? State::kDone : State::kMore;
  }

  void Drop(int sequence) override {
    comparing_sink_.End(sequence);
    if (!reference_over_) reference_->Drop(sequence);
    primary_->Drop(sequence);
  }

  int64_t ResidentBytes() const override {
    int64_t bytes = primary_->ResidentBytes() + reference_->ResidentBytes();
    for (int s = 0; s < sequences_; ++s) {
      bytes += static_cast<int64_t>(reference_sink_.rows(s).values.size() * sizeof(float));
    }
    return bytes;
  }

  double Progress() const override { return (reference_->Progress() + primary_->Progress()) / 2; }

 private:
  absl::StatusOr<State> StepPrimary() {
    absl::StatusOr<State> state = primary_->Step();
    if (!state.ok()) return state;
    for (const int s : comparing_sink_.TakeDisagreed()) primary_->Drop(s);
    return AllEnded() ? State::kDone : state;
  }

  // What the reference did not finish has failed or was dropped: the primary need not compute it.
  void EndReference() {
    reference_over_ = true;
    for (int s = 0; s < sequences_; ++s) {
      if (reference_sink_.rows(s).finished || comparing_sink_.ended(s)) continue;
      comparing_sink_.End(s);
      primary_->Drop(s);
    }
  }

  bool AllEnded() const {
    for (int s = 0; s < sequences_; ++s) {
      if (!comparing_sink_.ended(s)) return false;
    }
    return true;
  }

  const int sequences_;
  ReferenceSink reference_sink_;
  ComparingSink comparing_sink_;
  std::unique_ptr<EncodeJob> reference_;
  std::unique_ptr<EncodeJob> primary_;
  bool reference_over_ = false;
};

}  // namespace

CheckingEncoder::CheckingEncoder(Encoder* primary, Encoder* reference, CheckingOptions options)
    : primary_(*primary), reference_(*reference), options_(options) {}

absl::Status CheckingEncoder::Health() const {
  absl::Status status = primary_.Health();
  return status.ok() ? reference_.Health() : status;
}

CostPrediction CheckingEncoder::Predict(int64_t tokens, const OutputSpec& output,
                                        Route route) const {
  CostPrediction cost = primary_.Predict(tokens, output, route);
  const CostPrediction check = reference_.Predict(tokens, output, options_.reference_route);
  const int64_t row_bytes = static_cast<int64_t>(sizeof(float)) * Info().dim *
                            std::max<int64_t>(1, static_cast<int64_t>(output.layers.size()));
  cost.seconds += check.seconds;
  cost.peak_bytes += check.peak_bytes + output.RowCount(tokens) * row_bytes;
  cost.slices += check.slices;
  return cost;
}

absl::Status CheckingEncoder::CheckRoute(int64_t tokens, Route route) const {
  absl::Status status = primary_.CheckRoute(tokens, route);
  return status.ok() ? reference_.CheckRoute(tokens, options_.reference_route) : status;
}

absl::StatusOr<std::unique_ptr<EncodeJob>> CheckingEncoder::Begin(EncoderBatch batch,
                                                                  std::vector<OutputSpec> outputs,
                                                                  RowSink* sink) {
  auto job = std::make_unique<CheckingJob>(options_.tolerance, batch.sequences(), sink);
  EncoderBatch check = batch;
  check.routes.clear();
  if (options_.reference_route != Route::kAuto) {
    check.routes.assign(batch.sequences(), options_.reference_route);
  }
  auto reference = reference_.Begin(std::move(check), outputs, job->reference_sink());
  if (!reference.ok()) return std::move(reference).status();
  auto primary = primary_.Begin(std::move(batch), std::move(outputs), job->comparing_sink());
  if (!primary.ok()) return std::move(primary).status();
  job->Start(*std::move(reference), *std::move(primary));
  return job;
}

}  // namespace longwave
