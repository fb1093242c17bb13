#include "client/load/validity.h"

#include <cmath>

#include "absl/strings/str_format.h"

namespace longwave::load {
namespace {

// So few calls in flight are no backlog, however short the run.
constexpr int64_t kAlwaysInFlight = 16;

}  // namespace

std::vector<std::string> ValidityProblems(const LoadResult& result, const ValidityLimits& limits,
                                          absl::Span<const GroupLabel> groups) {
  std::vector<std::string> problems;
  const double lateness = result.lateness.Percentile(99);
  if (lateness > limits.max_lateness_seconds) {
    problems.push_back(absl::StrFormat(
        "calls were sent late: p99 %.1f ms behind their time, limit %.1f ms; this machine cannot "
        "keep the schedule: lower the rate, or leave it more processor time",
        lateness * 1e3, limits.max_lateness_seconds * 1e3));
  }
  if (result.not_sent > 0) {
    problems.push_back(absl::StrFormat(
        "%d calls were not sent, since too many were in flight: give a deadline, a lower rate, or "
        "a higher --max-in-flight",
        result.not_sent));
  }
  int64_t offered = 0;
  int64_t left = 0;
  for (size_t i = 0; i < result.groups.size(); ++i) {
    const GroupResult& group = result.groups[i];
    offered += group.offered;
    left += group.left;
    const bool bounded = std::isfinite(groups[i].deadline_seconds);
    const double backlog = limits.max_backlog_share * group.offered;
    if (!bounded && group.in_flight_at_end > backlog && group.in_flight_at_end > kAlwaysInFlight) {
      problems.push_back(absl::StrFormat(
          "group %s: %d of %d calls were still in flight at the end of sending: the server is "
          "behind and the latencies depend on the run's length; lower the rate, or give a deadline",
          groups[i].name, group.in_flight_at_end, group.offered));
    }
  }
  if (offered == 0) problems.push_back("no call was due behind the warm-up: run longer, or faster");
  if (left > limits.max_left_share * offered) {
    problems.push_back(absl::StrFormat(
        "%d of %d calls had not ended when the run was over: give a deadline", left, offered));
  }
  return problems;
}

}  // namespace longwave::load
