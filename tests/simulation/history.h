#ifndef LONGWAVE_TESTS_SIMULATION_HISTORY_H_
#define LONGWAVE_TESTS_SIMULATION_HISTORY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/base/clock.h"
#include "model/base/error.h"
#include "server/scheduling/scheduler.h"

// What happened in one simulated schedule, as its callers, consumers and the encoder saw it.
namespace longwave {

// One sequence that was submitted.
struct SequenceHistory {
  int64_t request = 0;
  Priority priority = Priority::kInteractive;
  int64_t tokens = 0;
  bool streamed = false;
  std::string tenant;
  double share = 1;           // the tenant's
  bool has_quota = false;     // the tenant
  int64_t request_bytes = 0;  // of the host, the whole request
  // By the cost model when it was submitted: as a job by itself, and as part of a batch.
  double predicted_seconds = 0;
  double predicted_shared_seconds = 0;
  int64_t peak_bytes = 0;
  bool alone = false;  // by that it takes no mates
  Instant submitted{};
  Instant deadline = kNever;
  bool accepted = false;
  ErrorReason refusal = ErrorReason::kInternal;  // unless accepted
  Instant cancelled = kNever;                    // when Cancel was called
  Instant popped{};                              // as its consumer was told; Instant{}: never

  int ends = 0;
  Instant ended = kNever;
  bool ok = false;
  ErrorReason reason = ErrorReason::kInternal;
  bool rows_right = false;  // all rows of its own input, once each, in order
  bool called_after_end = false;
  Instant last_taken = kNever;  // streamed: the reader took rows last
};

// One Begin of the encoder.
struct JobHistory {
  std::vector<int64_t> members;  // indices of sequences
  int64_t held_bytes = 0;        // predicted peaks of all live jobs, this one included
  int live_jobs = 0;             // this one included
  double seconds = 0;            // of its steps
};

// One Step of the encoder.
struct StepHistory {
  int64_t job = 0;
  Instant began{};
  Instant ended{};
  std::vector<int64_t> members;  // those that had neither ended nor been dropped
  bool blocked = false;          // what it returned
  bool first = false;            // of its job
  int live_jobs = 0;             // at its beginning
  int64_t held_bytes = 0;        // predicted peaks of all live jobs, at its beginning
  double work_seconds = 0;       // what it did, as the encoder predicts it
};

// One RunOnce of the scheduler.
struct RoundHistory {
  Instant began{};
  bool ran = false;
  SchedulerView view;  // after it
  int live_jobs = 0;   // after it
};

// After one act of anybody: what the callers count, and what the scheduler says that it holds.
struct Moment {
  int64_t accepted = 0;  // sequences, so far
  int64_t ok = 0;
  int64_t errors = 0;
  int64_t open_tokens = 0;  // of those that have not ended
  // Of the live jobs, those that have neither ended nor been dropped.
  int64_t computed = 0;
  int64_t computed_tokens = 0;
  // The drain ran out of time: callers know, the executor finds out at its next round.
  bool abandoned = false;
  SchedulerView view;
};

// What the observer was told.
struct Observed {
  struct Batch {
    int sequences = 0;
    int64_t tokens = 0;
  };
  struct JobEnd {
    int64_t tokens = 0;
    double seconds = 0;
  };
  std::vector<Batch> batches;
  std::vector<double> slices;  // seconds
  int64_t slice_starts = 0;
  std::vector<JobEnd> job_ends;
};

struct History {
  SchedulerOptions options;
  bool device_may_fail = false;  // faults were scripted
  // The encoder took the time that it predicts: what is alike is predicted alike at any time.
  bool predictions_hold = true;
  std::vector<SequenceHistory> sequences;
  std::vector<JobHistory> jobs;
  std::vector<StepHistory> steps;
  std::vector<RoundHistory> rounds;
  std::vector<Moment> moments;
  std::vector<int64_t> whole_jobs;  // in the order of their ends
  Instant drain_began = kNever;
  Instant abandoned = kNever;  // the drain ran out of time
  Observed observed;
  SchedulerView last_view;
  int64_t live_jobs_at_end = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SIMULATION_HISTORY_H_
