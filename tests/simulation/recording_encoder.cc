#include "tests/simulation/recording_encoder.h"

#include <utility>

namespace longwave {

class RecordingEncoder::Job final : public EncodeJob, private RowSink {
 public:
  Job(RecordingEncoder* encoder, JobHistory record, int64_t peak_bytes, RowSink* sink)
      : encoder_(*encoder),
        number_(static_cast<int64_t>(encoder->history_.jobs.size())),
        members_(record.members),
        left_(members_.size(), false),
        peak_bytes_(peak_bytes),
        sink_(*sink) {
    ++encoder_.live_jobs_;
    encoder_.held_bytes_ += peak_bytes_;
    record.held_bytes = encoder_.held_bytes_;
    record.live_jobs = encoder_.live_jobs_;
    encoder_.history_.jobs.push_back(std::move(record));
  }
  ~Job() override {
    --encoder_.live_jobs_;
    encoder_.held_bytes_ -= peak_bytes_;
  }

  absl::Status Start(EncoderBatch batch, std::vector<OutputSpec> outputs) {
    auto job = encoder_.inner_.Begin(std::move(batch), std::move(outputs), this);
    if (!job.ok()) return std::move(job).status();
    inner_ = *std::move(job);
    return absl::OkStatus();
  }

  absl::StatusOr<State> Step() override {
    StepHistory step{.job = number_, .began = encoder_.clock_.Now()};
    step.live_jobs = encoder_.live_jobs_;
    for (size_t s = 0; s < members_.size(); ++s) {
      if (!left_[s]) step.members.push_back(members_[s]);
    }
    absl::StatusOr<State> state = inner_->Step();
    if (encoder_.slow_clock_ != nullptr) {
      encoder_.slow_clock_->AdvanceSeconds(encoder_.slow_seconds_);
    }
    step.ended = encoder_.clock_.Now();
    step.blocked = state.ok() && *state == State::kBlocked;
    encoder_.history_.steps.push_back(std::move(step));
    return state;
  }
  void Drop(int sequence) override {
    left_[sequence] = true;
    inner_->Drop(sequence);
  }
  int64_t ResidentBytes() const override { return inner_->ResidentBytes(); }
  double Progress() const override { return inner_->Progress(); }

 private:
  Answer Offer(int sequence, int64_t first_row, RowBlock rows) override {
    return sink_.Offer(sequence, first_row, rows);
  }
  void Finish(int sequence, const SequenceReport& report) override {
    left_[sequence] = true;
    sink_.Finish(sequence, report);
  }
  void Fail(int sequence, absl::Status status) override {
    left_[sequence] = true;
    sink_.Fail(sequence, std::move(status));
  }

  RecordingEncoder& encoder_;
  const int64_t number_;
  const std::vector<int64_t> members_;
  std::vector<bool> left_;
  const int64_t peak_bytes_;
  RowSink& sink_;
  std::unique_ptr<EncodeJob> inner_;
};

absl::StatusOr<std::unique_ptr<EncodeJob>> RecordingEncoder::Begin(EncoderBatch batch,
                                                                   std::vector<OutputSpec> outputs,
                                                                   RowSink* sink) {
  JobHistory record;
  int64_t peak_bytes = 0;
  for (int s = 0; s < batch.sequences(); ++s) {
    record.members.push_back(batch.token_ids[batch.offsets[s]]);
    peak_bytes += Predict(batch.length(s), outputs[s], Route::kAuto).peak_bytes;
  }
  auto job = std::make_unique<Job>(this, std::move(record), peak_bytes, sink);
  absl::Status status = job->Start(std::move(batch), std::move(outputs));
  if (!status.ok()) return status;
  return job;
}

}  // namespace longwave
