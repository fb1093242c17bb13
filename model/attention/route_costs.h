#ifndef LONGWAVE_MODEL_ATTENTION_ROUTE_COSTS_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTE_COSTS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// What the planner weighs routes by: measured once, kept in the repository (route_costs.json),
// built into the program. Nothing is measured where the program runs, so that replicas agree.
namespace longwave {

// Of one head of one sequence: head_microseconds + counted operations / gflops.
struct MethodCost {
  double gflops = 1;  // one thread's; only ratios matter
  double head_microseconds = 0;

  double Seconds(double flops) const { return head_microseconds * 1e-6 + flops / (gflops * 1e9); }
};

// Of one (feature, column) channel of a transform, forward and back with the products around it.
struct ChannelCost {
  int64_t tokens = 1;
  double nanoseconds_per_token = 0;
};

struct DeviceCosts {
  MethodCost tiles;
  MethodCost band;
  MethodCost buckets;
  MethodCost interpolation;
  // By length, ascending.
  std::vector<ChannelCost> fft_fp32;
  std::vector<ChannelCost> fft_fp64;
};

struct RouteCosts {
  DeviceCosts cpu;
  DeviceCosts cuda;
};

// Seconds a token of one channel: linear in log n between the points, flat beyond them.
double SecondsPerToken(const std::vector<ChannelCost>& points, int64_t n);

// Parses and validates. INVALID_ARGUMENT lists every problem at once.
absl::StatusOr<RouteCosts> ParseRouteCosts(absl::string_view json);

// Those of this build and the text that they are parsed from, whose digest is part of the
// fingerprint. A text that does not parse ends the program: a unit test parses it.
const RouteCosts& BuiltInRouteCosts();
absl::string_view BuiltInRouteCostsText();

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTE_COSTS_H_
