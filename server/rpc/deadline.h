#ifndef LONGWAVE_SERVER_RPC_DEADLINE_H_
#define LONGWAVE_SERVER_RPC_DEADLINE_H_

#include <grpc/support/time.h>

#include <optional>

#include "model/base/clock.h"

namespace longwave {

// Time left of a call's deadline as gRPC keeps it; unset: the caller gave none. Never overflows,
// whatever the caller sent.
std::optional<Nanoseconds> TimeLeft(gpr_timespec deadline);

// The same instant for gRPC's timers, on the clock that nobody sets.
gpr_timespec ToGrpcTime(Instant when);

// Whether a call that gRPC cancels now has reached its deadline: its timers go by milliseconds, so
// they may ring a little early.
bool CancelledByDeadline(Instant deadline, Instant now);

// When a call must have ended: after the time left, but after `cap` at the latest.
Instant EffectiveDeadline(std::optional<Nanoseconds> left, Nanoseconds cap, Instant now);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_DEADLINE_H_
