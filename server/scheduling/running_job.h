#ifndef LONGWAVE_SERVER_SCHEDULING_RUNNING_JOB_H_
#define LONGWAVE_SERVER_SCHEDULING_RUNNING_JOB_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/api/encoder.h"
#include "model/base/clock.h"
#include "server/scheduling/job_selector.h"
#include "server/scheduling/sequence.h"

namespace longwave {

// A batch that is being computed: the encoder's job and the sequences that ride in it. Used by the
// executor's thread only. Destroying it frees the encoder's job; members that have not ended must
// have been taken or ended before.
class RunningJob final : private RowSink {
 public:
  // Precondition: members of one class and model, at least one.
  RunningJob(Sequences members, const Clock* clock);
  ~RunningJob() override;
  RunningJob(const RunningJob&) = delete;
  RunningJob& operator=(const RunningJob&) = delete;

  // Starts the encoder's job.
  absl::Status Begin();
  // Runs one slice. After an error or kDone the members that have not ended get no result.
  absl::StatusOr<EncodeJob::State> Step();

  // Ends the members that `reason_for` gives a reason for (not OK).
  void EndWhere(absl::FunctionRef<absl::Status(const Sequence&)> reason_for);
  // The members that have not ended, to be computed again.
  Sequences TakeActive();
  // The members that have ended since the last call.
  Sequences TakeEnded();

  bool HasTicket(Scheduler::Ticket ticket) const;
  bool HasActive() const { return active_ > 0; }
  // Every member was computed to its end.
  bool whole() const { return whole_; }
  bool alone() const { return alone_; }
  // Tells the model's cost model what the job took. Precondition: whole.
  void ObserveCost() const;
  const ServedModel& model() const { return *model_; }
  const std::shared_ptr<ServedModel>& shared_model() const { return model_; }
  int sequences() const { return static_cast<int>(members_.size()); }
  int64_t tokens() const { return tokens_; }
  int64_t peak_bytes() const { return peak_bytes_; }
  // Whose work this is, with the seconds of the whole; the flow that it was started for first.
  const std::vector<FlowPart>& parts() const { return parts_; }
  // Of that, what the last Step did.
  std::vector<FlowPart> LastParts() const;
  // In the weather in which it began.
  double predicted_seconds() const { return predicted_seconds_ * weather_; }
  double spent_seconds() const { return spent_seconds_; }
  // Predicted seconds of what is left, in usual weather.
  double left_seconds() const { return predicted_seconds_ * (1 - progress_); }
  int64_t ResidentBytes() const { return job_ == nullptr ? 0 : job_->ResidentBytes(); }
  // The earliest of the active members' deadlines.
  Instant NextDeadline() const;
  // `waited` is left to the caller.
  SliceCandidate candidate() const;

  // Blocked: the sink refused and has not said that it is ready.
  bool blocked() const { return blocked_; }
  void Unblock();
  // When the reader's stall began: all the time that it has kept the job blocked and not made good
  // by what it took since, as if that had been in one piece up to now. Precondition: blocked.
  Instant stalled_since() const { return stalled_since_ - stalled_before_; }

  int64_t last_slice = 0;  // the executor's count of slices when this ran last

 private:
  Answer Offer(int sequence, int64_t first_row, RowBlock rows) override;
  void Finish(int sequence, const SequenceReport& report) override;
  void Fail(int sequence, absl::Status status) override;

  void End(int sequence, absl::StatusOr<SequenceReport> result);
  void AddPart(const Sequence& member);
  // What a Step that ended so says of the reader.
  void NoteBlocked(bool blocked);
  // The stall, if there was one, has ended, and rows that were taken make good for stalls.
  void EndStall();

  const Clock& clock_;
  const std::shared_ptr<ServedModel> model_;
  Sequences members_;  // null: ended or taken
  Sequences ended_;
  int active_ = 0;
  const double weather_;
  std::vector<FlowPart> parts_;
  const bool alone_;
  OrderKey key_;  // the least of the members'
  int64_t tokens_ = 0;
  int64_t peak_bytes_ = 0;
  int64_t slices_ = 0;
  double predicted_seconds_ = 0;
  double encoder_seconds_ = 0;
  Route route_ = Route::kAuto;  // predicted for the longest member
  double spent_seconds_ = 0;
  double progress_ = 0;
  double last_progress_ = 0;
  bool whole_ = true;
  bool blocked_ = false;
  int64_t bytes_taken_ = 0;         // of rows, in this Step
  Instant stalled_since_ = kNever;  // since when nothing was taken; kNever: not refused last
  Instant ready_ = kNever;          // when the sink said that it is, if it has not refused since
  Nanoseconds stalled_before_{0};   // in earlier stalls
  std::unique_ptr<EncodeJob> job_;  // last: it calls the sink while it lives
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SCHEDULING_RUNNING_JOB_H_
