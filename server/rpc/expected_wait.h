#ifndef LONGWAVE_SERVER_RPC_EXPECTED_WAIT_H_
#define LONGWAVE_SERVER_RPC_EXPECTED_WAIT_H_

#include "server/scheduling/scheduler.h"

namespace longwave {

// Predicted seconds of everything that was accepted before a request that came now: the signal for
// autoscaling, and what EstimateEncode says. A bound from above for a short request, which starts
// after one slice while long ones pause.
inline double ExpectedWaitSeconds(const SchedulerView& view) {
  return view.queued_seconds + view.running_seconds;
}

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_EXPECTED_WAIT_H_
