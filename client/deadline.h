#ifndef LONGWAVE_CLIENT_DEADLINE_H_
#define LONGWAVE_CLIENT_DEADLINE_H_

#include <grpc/support/time.h>

#include <chrono>

#include "absl/time/time.h"

namespace longwave::client {

// When a call must have ended, on the clock that nobody sets; max(): never.
using Deadline = std::chrono::steady_clock::time_point;

inline Deadline DeadlineAfter(absl::Duration timeout) {
  const Deadline now = std::chrono::steady_clock::now();
  // A century is beyond every use, and far from where nanoseconds overflow.
  if (timeout > absl::Hours(24 * 36600)) return Deadline::max();
  return now + absl::ToChronoNanoseconds(timeout);
}

// The same instant for gRPC.
inline gpr_timespec ToGrpcTime(Deadline deadline) {
  if (deadline == Deadline::max()) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
  // On Linux both are CLOCK_MONOTONIC.
  gpr_timespec time = gpr_time_from_nanos(deadline.time_since_epoch().count(), GPR_TIMESPAN);
  time.clock_type = GPR_CLOCK_MONOTONIC;
  return time;
}

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_DEADLINE_H_
