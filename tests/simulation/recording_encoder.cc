#include "tests/simulation/recording_encoder.h"

#include <utility>

namespace longwave {

class RecordingEncoder::Job final : public EncodeJob, private RowSink {
 public:
  // What the encoder predicts for the whole of it.
  struct Prediction {
    std::vector<int64_t> tokens;  // of the members
    int64_t peak_bytes = 0;
    double seconds = 0;
  };

  Job(RecordingEncoder* encoder, std::vector<int64_t> members, Prediction prediction, RowSink* sink)
      : encoder_(*encoder),
        number_(static_cast<int64_t>(encoder->history_.jobs.size())),
        members_(std::move(members)),
        left_(members_.size(), false),
        prediction_(std::move(prediction)),
        sink_(*sink) {
    ++encoder_.live_jobs_;
    encoder_.held_bytes_ += prediction_.peak_bytes;
    encoder_.computed_ += static_cast<int64_t>(members_.size());
    for (const int64_t tokens : prediction_.tokens) encoder_.computed_tokens_ += tokens;
    encoder_.history_.jobs.push_back({.members = members_,
                                      .held_bytes = encoder_.held_bytes_,
                                      .live_jobs = encoder_.live_jobs_});
  }
  ~Job() override {
    --encoder_.live_jobs_;
    encoder_.held_bytes_ -= prediction_.peak_bytes;
    for (size_t s = 0; s < members_.size(); ++s) Leave(static_cast<int>(s));
  }

  absl::Status Start(EncoderBatch batch, std::vector<OutputSpec> outputs) {
    auto job = encoder_.inner_.Begin(std::move(batch), std::move(outputs), this);
    if (!job.ok()) return std::move(job).status();
    inner_ = *std::move(job);
    return absl::OkStatus();
  }

  absl::StatusOr<State> Step() override {
    History& history = encoder_.history_;
    StepHistory step{.job = number_, .began = encoder_.clock_.Now(), .first = !stepped_};
    stepped_ = true;
    step.live_jobs = encoder_.live_jobs_;
    step.held_bytes = encoder_.held_bytes_;
    for (size_t s = 0; s < members_.size(); ++s) {
      if (!left_[s]) step.members.push_back(members_[s]);
    }
    const double before = inner_->Progress();
    absl::StatusOr<State> state = inner_->Step();
    if (encoder_.slow_clock_ != nullptr) {
      encoder_.slow_clock_->AdvanceSeconds(encoder_.slow_seconds_);
    }
    step.ended = encoder_.clock_.Now();
    step.blocked = state.ok() && *state == State::kBlocked;
    if (state.ok()) step.work_seconds = prediction_.seconds * (inner_->Progress() - before);
    history.jobs[number_].seconds += ToSeconds(step.ended - step.began);
    if (state.ok() && *state == State::kDone && whole_) history.whole_jobs.push_back(number_);
    history.steps.push_back(std::move(step));
    return state;
  }
  void Drop(int sequence) override {
    whole_ = false;
    Leave(sequence);
    inner_->Drop(sequence);
  }
  int64_t ResidentBytes() const override { return inner_->ResidentBytes(); }
  double Progress() const override { return inner_->Progress(); }

 private:
  Answer Offer(int sequence, int64_t first_row, RowBlock rows) override {
    return sink_.Offer(sequence, first_row, rows);
  }
  void Finish(int sequence, const SequenceReport& report) override {
    Leave(sequence);
    sink_.Finish(sequence, report);
  }
  void Fail(int sequence, absl::Status status) override {
    whole_ = false;
    Leave(sequence);
    sink_.Fail(sequence, std::move(status));
  }

  void Leave(int sequence) {
    if (left_[sequence]) return;
    left_[sequence] = true;
    --encoder_.computed_;
    encoder_.computed_tokens_ -= prediction_.tokens[sequence];
  }

  RecordingEncoder& encoder_;
  const int64_t number_;
  const std::vector<int64_t> members_;
  std::vector<bool> left_;  // ended or dropped
  const Prediction prediction_;
  RowSink& sink_;
  bool stepped_ = false;
  bool whole_ = true;  // nobody failed or was dropped
  std::unique_ptr<EncodeJob> inner_;
};

absl::StatusOr<std::unique_ptr<EncodeJob>> RecordingEncoder::Begin(EncoderBatch batch,
                                                                   std::vector<OutputSpec> outputs,
                                                                   RowSink* sink) {
  std::vector<int64_t> members;
  Job::Prediction prediction;
  for (int s = 0; s < batch.sequences(); ++s) {
    members.push_back(batch.token_ids[batch.offsets[s]]);
    const CostPrediction cost = Predict(batch.length(s), outputs[s], Route::kAuto);
    prediction.tokens.push_back(batch.length(s));
    prediction.peak_bytes += cost.peak_bytes;
    prediction.seconds += cost.seconds;
  }
  auto job = std::make_unique<Job>(this, std::move(members), std::move(prediction), sink);
  absl::Status status = job->Start(std::move(batch), std::move(outputs));
  if (!status.ok()) return status;
  return job;
}

}  // namespace longwave
