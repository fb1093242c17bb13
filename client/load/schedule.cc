#include "client/load/schedule.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"

namespace longwave::load {
namespace {

PlannedCall Plan(const Traffic& traffic, uint16_t group, double due, Random& random) {
  PlannedCall call;
  call.due_seconds = due;
  call.group = group;
  call.tokens = traffic.lengths.Draw(random);
  call.document = static_cast<uint16_t>(random.Next() % traffic.documents);
  if (random.Uniform() < traffic.cancel_share) {
    call.cancel_after_seconds =
        static_cast<float>(random.Uniform() * traffic.cancel_within_seconds);
  }
  return call;
}

void PlanGroup(const Traffic& traffic, uint16_t group, uint64_t seed, int64_t max_calls,
               std::vector<PlannedCall>* calls) {
  Random mixer(seed);
  Random random(mixer.Next() + group * uint64_t{0x9e3779b97f4a7c15});
  const size_t begin = calls->size();
  double phase_begin = 0;
  for (const RatePhase& phase : traffic.phases) {
    const double phase_end = phase_begin + phase.seconds;
    const bool even = traffic.arrivals == Arrivals::kEven;
    double due = phase_begin;
    // An even phase begins somewhere in its first gap.
    double gaps = even ? random.Uniform() : random.Exponential();
    while (phase.calls_per_second > 0) {
      due += gaps / phase.calls_per_second;
      if (due >= phase_end || static_cast<int64_t>(calls->size() - begin) >= max_calls) break;
      calls->push_back(Plan(traffic, group, due, random));
      gaps = even ? 1.0 : random.Exponential();
    }
    phase_begin = phase_end;
  }
}

double ExpectedCalls(absl::Span<const Traffic> groups) {
  double expected = 0;
  for (const Traffic& traffic : groups) {
    for (const RatePhase& phase : traffic.phases) {
      expected += phase.calls_per_second * phase.seconds;
    }
  }
  return expected;
}

}  // namespace

absl::StatusOr<std::vector<PlannedCall>> MakeSchedule(absl::Span<const Traffic> groups,
                                                      uint64_t seed, int64_t max_calls) {
  const double expected = std::min<double>(ExpectedCalls(groups), max_calls);
  if (expected > kMaxPlannedCalls) {
    return absl::InvalidArgumentError(absl::StrCat("rates and times make about ", expected,
                                                   " calls, more than ", kMaxPlannedCalls));
  }
  std::vector<PlannedCall> calls;
  for (size_t group = 0; group < groups.size(); ++group) {
    PlanGroup(groups[group], static_cast<uint16_t>(group), seed, max_calls, &calls);
  }
  // Two groups may have evenly spaced calls at the same moment.
  std::sort(calls.begin(), calls.end(), [](const PlannedCall& a, const PlannedCall& b) {
    return std::tie(a.due_seconds, a.group) < std::tie(b.due_seconds, b.group);
  });
  if (static_cast<int64_t>(calls.size()) > max_calls) calls.resize(max_calls);
  return calls;
}

double ScheduleSeconds(absl::Span<const Traffic> groups) {
  double longest = 0;
  for (const Traffic& traffic : groups) {
    double seconds = 0;
    for (const RatePhase& phase : traffic.phases) seconds += phase.seconds;
    longest = std::max(longest, seconds);
  }
  return longest;
}

}  // namespace longwave::load
