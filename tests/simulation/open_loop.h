#ifndef LONGWAVE_TESTS_SIMULATION_OPEN_LOOP_H_
#define LONGWAVE_TESTS_SIMULATION_OPEN_LOOP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/base/clock.h"
#include "model/base/error.h"
#include "server/scheduling/scheduler.h"

// Open-loop load on the scheduler in virtual time: arrivals are fixed in advance, latency counts
// from the intended arrival, and nobody waits for anybody.
namespace longwave {

// A stream of equal customers.
struct Source {
  std::shared_ptr<const Tenant> tenant;  // null: the one without a name
  Priority priority = Priority::kInteractive;
  // Requests a second at a time in seconds from the start; a Poisson process thinned from its peak.
  std::function<double(double now)> rate;
  double peak_rate = 0;
  std::function<int64_t(uint32_t random)> tokens;
  double deadline_seconds = 0;  // from the arrival on; 0: none
};

// One request and what became of it. Seconds are from the start.
struct Outcome {
  size_t source = 0;
  int64_t tokens = 0;
  double arrived = 0;
  double ended = 0;
  double foreseen = 0;  // the end, as predicted when it arrived
  bool accepted = false;
  bool ok = false;
  ErrorReason reason = ErrorReason::kInternal;  // unless ok
  double latency() const { return ended - arrived; }
};

struct OpenLoopOptions {
  uint32_t seed = 1;
  double seconds = 60;  // of arrivals
  SchedulerOptions scheduler;
  // What the encoder predicts.
  double base_seconds = 1e-3;
  double seconds_per_token = 1e-5;
  int64_t tokens_per_slice = 1000;
  // Time taken over time predicted, at a time in seconds from the start.
  std::function<double(double now)> slowness = [](double) { return 1.0; };
};

// Runs the schedule to the end of all work. A function of its arguments.
std::vector<Outcome> RunOpenLoop(const OpenLoopOptions& options,
                                 const std::vector<Source>& sources);

// Tokens a second of requests that arrived within [begin, end) and ended well.
double Goodput(const std::vector<Outcome>& outcomes, double begin, double end);
// The share of the requests that `which` selects that ended well.
double OkShare(const std::vector<Outcome>& outcomes,
               const std::function<bool(const Outcome&)>& which);
// Of the latencies of those that `which` selects and that ended well.
double LatencyQuantile(const std::vector<Outcome>& outcomes, double quantile,
                       const std::function<bool(const Outcome&)>& which);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SIMULATION_OPEN_LOOP_H_
