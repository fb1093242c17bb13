#ifndef LONGWAVE_CLIENT_LOAD_RUNNER_H_
#define LONGWAVE_CLIENT_LOAD_RUNNER_H_

#include <cstdint>
#include <functional>

#include "absl/types/span.h"
#include "client/load/call_sender.h"
#include "client/load/load_clock.h"
#include "client/load/recorder.h"

namespace longwave::load {

struct RunOptions {
  // What has not ended so long after the last call was due is cancelled and counts as left over.
  double drain_seconds = 30;
  // Calls that come while so many are in flight are not sent, and spoil the run: they bound the
  // memory of this process, not the load on the server.
  int64_t max_in_flight = 100'000;
  // Called between calls with the share of the time that is over.
  std::function<void(double)> progress;
};

// Sends every call when it is due, whatever became of those before it (open loop), cancels those
// that are to be cancelled, and waits for the rest. `sender` reports to `recorder`. Returns when
// nothing is in flight any more.
void RunSchedule(absl::Span<const PlannedCall> calls, double total_seconds,
                 const RunOptions& options, CallSender* sender, Recorder* recorder,
                 LoadClock* clock);

}  // namespace longwave::load

#endif  // LONGWAVE_CLIENT_LOAD_RUNNER_H_
