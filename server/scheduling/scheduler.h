#ifndef LONGWAVE_SERVER_SCHEDULING_SCHEDULER_H_
#define LONGWAVE_SERVER_SCHEDULING_SCHEDULER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/api/encoder.h"
#include "model/base/clock.h"
#include "server/admission/admission_policy.h"
#include "server/admission/request_terms.h"
#include "server/admission/served_model.h"

namespace longwave {

// When one sequence passed the scheduler's seams, and with whom.
struct SequenceTimes {
  Instant popped{};
  Instant first_step{};
  Instant last_row{};
  int64_t batch_tokens = 0;
  int batch_sequences = 0;
};

// Receives the results of one sequence. Called on an executor thread, or on the caller's thread
// from Cancel and Stop; never under a lock of the scheduler.
class SequenceConsumer {
 public:
  virtual ~SequenceConsumer() = default;
  // As RowSink::Offer. Only a streamed sequence may refuse; after a refusal its consumer calls
  // Scheduler::OnSinkReady once when it has room again.
  virtual RowSink::Answer OnRows(int64_t first_row, RowBlock rows) = 0;
  // Streamed sequences: work done so far, in [0, 1], after a slice.
  virtual void OnProgress(double fraction) {}
  // The last call, exactly once for every accepted sequence.
  virtual void OnEnd(absl::StatusOr<SequenceReport> result, const SequenceTimes& times) = 0;
};

// One sequence, the unit of scheduling.
struct SequenceTask {
  std::shared_ptr<ServedModel> model;  // computes it; mates have the same
  std::vector<int32_t> token_ids;
  OutputSpec output;
  Route route = Route::kAuto;
  bool streamed = false;  // rides alone; its consumer may refuse rows
  std::shared_ptr<SequenceConsumer> consumer;
};

struct SchedulerOptions {
  AdmissionLimits admission;
  // A batch holds sequences whose predicted seconds add up to at most this; a longer one rides
  // alone.
  double max_batch_seconds = 0.250;
  int64_t max_batch_tokens = 65536;
  int max_batch_sequences = 256;
  // Memory of paused and running jobs together, predicted. One job always runs; an eighth is kept
  // for batches of short sequences, which long ones never lock out.
  int64_t max_resident_bytes = int64_t{8} << 30;
  int max_paused_jobs = 16;
  // A job whose sink refuses for longer, all its refusals together, ends with SLOW_READER. Rows
  // that are taken make good for refusals, a second for every 128 KiB as computed.
  double max_stall_seconds = 30;

  // Every problem at once, each naming the flag to change.
  absl::Status Validate() const;
};

// What the scheduler holds right now.
struct SchedulerView {
  int64_t queued_sequences = 0;
  int64_t queued_tokens = 0;
  int64_t running_sequences = 0;
  int64_t paused_jobs = 0;
  int64_t resident_bytes = 0;
  double queued_seconds = 0;   // predicted
  double running_seconds = 0;  // predicted, what is left of started jobs
};

// What a sequence asks for: all that its cost depends on.
struct SequenceWork {
  int64_t tokens = 0;
  const OutputSpec* output = nullptr;
  Route route = Route::kAuto;
  bool streamed = false;
};

// What Submit would do with a request that came now.
struct Forecast {
  double seconds = 0;       // predicted compute, all sequences
  double wait_seconds = 0;  // predicted end, less that
  int64_t peak_bytes = 0;   // of the largest sequence
  int64_t slices = 0;
  std::vector<Route> routes;  // each once
  absl::Status verdict;       // OK, or what Submit would refuse it with
};

// Told of what happens, for metrics and logs. Called without locks held; must be quick.
class SchedulerObserver {
 public:
  virtual ~SchedulerObserver() = default;
  virtual void OnBatch(int sequences, int64_t tokens) {}
  virtual void OnSliceStart() {}  // every one is followed by OnSlice
  virtual void OnSlice(double seconds) {}
  virtual void OnJobEnd(int64_t tokens, double predicted_seconds, double actual_seconds) {}
};

// Bounded queue, batch former and executor thread of one encoder. After every slice the job with
// the least virtual finish time runs (start-time fair queueing on predicted seconds, weight
// interactive 9 : batch 1; ties by deadline, then arrival), so that a short sequence starts within
// one slice while a long one is computed; README.md has the whole order. Thread-safe.
class Scheduler {
 public:
  // Names one accepted request until its last sequence has ended; never reused.
  using Ticket = uint64_t;

  // `clock` and `observer` (may be null) outlive the scheduler.
  static absl::StatusOr<std::unique_ptr<Scheduler>> Create(const SchedulerOptions& options,
                                                           const Clock* clock,
                                                           SchedulerObserver* observer);
  virtual ~Scheduler() = default;

  // Admits all sequences of a request (of one model) or none. EMPTY_REQUEST, DEADLINE_EXPIRED,
  // DEVICE_LOST, DRAINING, EXCEEDS_GRACE; DEADLINE_UNMEETABLE (predicted to end too late);
  // QUEUE_FULL, MEMORY_FULL and QUOTA_EXCEEDED, with retry_after unless an idle server would not
  // take the request either. Consumers of refused tasks get no call.
  virtual absl::StatusOr<Ticket> Submit(std::vector<SequenceTask> tasks,
                                        const RequestTerms& terms) = 0;
  // What Submit would do, before ids are copied or a reply is allocated. Takes nothing.
  virtual Forecast Foresee(const ServedModel& model, absl::Span<const SequenceWork> shapes,
                           const RequestTerms& terms) const = 0;
  // The request's sequences that have not ended end with `reason`: those in the queue at once,
  // those being computed at the next slice. A ticket that has ended is ignored.
  virtual void Cancel(Ticket ticket, absl::Status reason) = 0;
  // The consumer of a streamed request that had refused has room again.
  virtual void OnSinkReady(Ticket ticket) = 0;
  virtual SchedulerView View() const = 0;
  // No further Submit succeeds; what was accepted goes on. Returns at once.
  virtual void BeginDrain() = 0;
  // Waits until nothing is queued or running, or until `deadline` of the steady clock: then ends
  // what is left with UNAVAILABLE (DRAINING) and returns false.
  virtual bool AwaitIdle(Instant deadline) = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SCHEDULING_SCHEDULER_H_
