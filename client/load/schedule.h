#ifndef LONGWAVE_CLIENT_LOAD_SCHEDULE_H_
#define LONGWAVE_CLIENT_LOAD_SCHEDULE_H_

#include <cstdint>
#include <limits>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/load/length_mix.h"

namespace longwave::load {

// Arrivals at this mean rate for so long.
struct RatePhase {
  double calls_per_second = 0;
  double seconds = 0;
};

// When the calls of a phase come: independently of one another, as those of many callers do, or
// evenly spaced from a random moment on, which shows what calls wait for but each other.
enum class Arrivals { kPoisson, kEven };

// When and what one group of calls sends.
struct Traffic {
  std::vector<RatePhase> phases;  // one after the other
  Arrivals arrivals = Arrivals::kPoisson;
  LengthMix lengths;
  // Contents for each length; the reply to each must be the same every time.
  uint32_t documents = 16;
  // This share of the calls is cancelled, at a time spread evenly over [0, cancel_within_seconds).
  double cancel_share = 0;
  double cancel_within_seconds = 0;
};

inline constexpr float kNeverCancelled = -1;

// One call, decided before the first one is sent.
struct PlannedCall {
  double due_seconds = 0;  // since the start of the run
  uint32_t tokens = 0;
  uint16_t group = 0;
  uint16_t document = 0;
  float cancel_after_seconds = kNeverCancelled;  // it was due
};

// Far above what one process can send in a bounded time; 24 bytes each.
inline constexpr int64_t kMaxPlannedCalls = 20'000'000;

inline constexpr int64_t kUnlimitedCalls = std::numeric_limits<int64_t>::max();

// The calls of all groups in the order of their arrival; nobody's answer decides when the next call
// comes. At most `max_calls`, the first ones. A pure function of
// its arguments; each group has random numbers of its own, so that adding one leaves the others as
// they were. INVALID_ARGUMENT if more than kMaxPlannedCalls were to be planned.
absl::StatusOr<std::vector<PlannedCall>> MakeSchedule(absl::Span<const Traffic> groups,
                                                      uint64_t seed,
                                                      int64_t max_calls = kUnlimitedCalls);

// From the start to the end of the last phase of any group.
double ScheduleSeconds(absl::Span<const Traffic> groups);

}  // namespace longwave::load

#endif  // LONGWAVE_CLIENT_LOAD_SCHEDULE_H_
