#ifndef LONGWAVE_CLIENT_LOAD_VALIDITY_H_
#define LONGWAVE_CLIENT_LOAD_VALIDITY_H_

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "client/load/load_report.h"
#include "client/load/load_result.h"

namespace longwave::load {

// What makes a run worth reporting.
struct ValidityLimits {
  // 99 % of the calls must be sent within this time of when they were due: a generator that is
  // later measures itself, and offers less than it says in bursts.
  double max_lateness_seconds = 0.005;
  // Without a deadline nothing bounds how many calls wait. If more than this share was in flight at
  // the end of sending, the server was behind, and its latencies tell how long the run was.
  double max_backlog_share = 0.1;
  // Calls without an end when all waiting was over.
  double max_left_share = 0.001;
};

// Why a run must not be reported, each with what to do; none: it may be.
std::vector<std::string> ValidityProblems(const LoadResult& result, const ValidityLimits& limits,
                                          absl::Span<const GroupLabel> groups);

}  // namespace longwave::load

#endif  // LONGWAVE_CLIENT_LOAD_VALIDITY_H_
