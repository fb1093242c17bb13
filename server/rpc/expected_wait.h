#ifndef LONGWAVE_SERVER_RPC_EXPECTED_WAIT_H_
#define LONGWAVE_SERVER_RPC_EXPECTED_WAIT_H_

#include "server/scheduling/scheduler.h"

namespace longwave {

// Predicted seconds of everything that was accepted before a request that came now: the signal for
// autoscaling. `weather` (CostModel::Weather): the view's seconds are those of usual weather, and a
// device that is throttled needs more replicas. A bound from above for a short request, which
// starts after one slice while long ones pause; EstimateEncode foresees each request's own wait.
inline double ExpectedWaitSeconds(const SchedulerView& view, double weather) {
  return (view.queued_seconds + view.running_seconds) * weather;
}

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_EXPECTED_WAIT_H_
