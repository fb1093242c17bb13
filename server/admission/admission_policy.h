#ifndef LONGWAVE_SERVER_ADMISSION_ADMISSION_POLICY_H_
#define LONGWAVE_SERVER_ADMISSION_ADMISSION_POLICY_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "model/base/clock.h"
#include "server/admission/request_terms.h"

namespace longwave {

// What a server takes on. Seconds are predicted ones. Of each of the first three limits, the batch
// class and a tenant with a name may hold no more than they leave free; whoever holds nothing may
// take what is free.
struct AdmissionLimits {
  int64_t max_queue_sequences = 4096;
  int64_t max_queue_tokens = 64 << 20;
  // Ids and replies of all requests that have not ended.
  int64_t max_host_bytes = int64_t{1} << 30;
  // A request is refused if others would keep it waiting for longer than this and its own time
  // together: who needs a minute of compute minds a minute of waiting less.
  double max_wait_seconds = 2;
  // The same in the batch class.
  double max_batch_class_wait_seconds = 30;
  // A sequence that needs longer is refused, since a shutdown would cut it off; 0: none is.
  double max_job_seconds = 0;
};

// What requests hold of the limits, or one would.
struct Holding {
  int64_t sequences = 0;   // that wait
  int64_t tokens = 0;      // of those
  int64_t host_bytes = 0;  // ids of requests that have not ended, and replies not yet taken
};

// What a request would take.
struct AdmissionRequest {
  Priority priority = Priority::kInteractive;
  Holding takes;
  double seconds = 0;          // on the engine alone
  double high_seconds = 0;     // the same, which it exceeds one time in twenty
  double longest_seconds = 0;  // of its sequences
  Instant deadline = kNever;
};

// What stands before it.
struct AdmissionState {
  Instant now{};
  Holding all;
  Holding batch_class;
  std::optional<Holding> tenant;  // the request's own; empty: it has no name
  double total_seconds = 0;       // of everything accepted that has not ended
  // Of that, what belongs to the same tenant and class and will be served first.
  double ahead_seconds = 0;
  // The share of the engine that this tenant has in this class, while all who have work want it.
  double rate = 1;
  // The longest batch that the request may ride in, and end with; 0: it rides alone.
  double batch_seconds = 0;
  // Until the tenant's quota lets in another request; 0: now.
  double quota_wait_seconds = 0;
};

struct AdmissionDecision {
  // Predicted seconds from now to the end, less the request's own on an idle engine.
  double wait_seconds = 0;
  absl::Status status;  // OK, or the refusal
};

// Whether a request is let in, and how long others will keep it waiting. A pure function: no clock,
// no lock. The end is predicted twice: everything accepted might be served first; and whatever
// others do, the tenant gets its share. The earlier one holds.
AdmissionDecision DecideAdmission(const AdmissionRequest& request, const AdmissionState& state,
                                  const AdmissionLimits& limits);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_ADMISSION_ADMISSION_POLICY_H_
