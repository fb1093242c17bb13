#ifndef LONGWAVE_TESTS_BENCH_COST_FIT_H_
#define LONGWAVE_TESTS_BENCH_COST_FIT_H_

#include <string>

#include "model/attention/route_costs.h"

namespace longwave {

struct CostPoint {
  double flops = 0;  // of one head, as the planner counts them
  double seconds = 0;
};

// The line through both points; where it would begin below zero, the rate of `large` alone.
// Precondition: small.flops < large.flops, seconds positive.
MethodCost FitMethodCost(const CostPoint& small, const CostPoint& large);

// `text` (route_costs.json) with the CPU's measured costs and where they come from in the place of
// its own; what calibration does not measure stays. Numbers have three digits. Precondition: `text`
// parses.
std::string WithCpuCosts(const std::string& text, const DeviceCosts& costs,
                         const std::string& measured);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_COST_FIT_H_
