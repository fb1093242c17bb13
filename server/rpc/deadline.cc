#include "server/rpc/deadline.h"

#include <algorithm>

namespace longwave {

std::optional<Nanoseconds> TimeLeft(gpr_timespec deadline) {
  // gRPC saturates in this conversion and keeps its two infinities.
  const gpr_timespec span = gpr_convert_clock_type(deadline, GPR_TIMESPAN);
  if (gpr_time_cmp(span, gpr_inf_future(GPR_TIMESPAN)) == 0) return std::nullopt;
  // A century is beyond every cap and far within 64 bits of nanoseconds.
  constexpr int64_t kCentury = int64_t{100} * 366 * 24 * 3600;
  const int64_t seconds = std::clamp<int64_t>(span.tv_sec, -kCentury, kCentury);
  return std::chrono::seconds(seconds) + Nanoseconds(span.tv_nsec);
}

gpr_timespec ToGrpcTime(Instant when) {
  if (when == kNever) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
  // On Linux both are CLOCK_MONOTONIC.
  gpr_timespec time = gpr_time_from_nanos(when.time_since_epoch().count(), GPR_TIMESPAN);
  time.clock_type = GPR_CLOCK_MONOTONIC;
  return time;
}

bool CancelledByDeadline(Instant deadline, Instant now) {
  constexpr Nanoseconds kEarly = std::chrono::milliseconds(2);
  return deadline - now <= kEarly;
}

Instant EffectiveDeadline(std::optional<Nanoseconds> left, Nanoseconds cap, Instant now) {
  return now + std::min(left.value_or(cap), cap);
}

}  // namespace longwave
