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
  bool has_quota = false;     // the tenant
  int64_t request_bytes = 0;  // of the host, the whole request
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
};

// One Step of the encoder.
struct StepHistory {
  int64_t job = 0;
  Instant began{};
  Instant ended{};
  std::vector<int64_t> members;  // those that had neither ended nor been dropped
  bool blocked = false;          // what it returned
  int live_jobs = 0;             // at its beginning
};

// One RunOnce of the scheduler.
struct RoundHistory {
  Instant began{};
  bool ran = false;
  size_t steps_before = 0;  // index into steps
  SchedulerView view;       // after it
  int live_jobs = 0;        // after it
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
  Instant drain_began = kNever;
  Instant abandoned = kNever;  // the drain ran out of time
  int64_t batches_observed = 0;
  int64_t slices_observed = 0;
  SchedulerView last_view;
  int64_t live_jobs_at_end = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SIMULATION_HISTORY_H_
