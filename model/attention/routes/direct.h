#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_DIRECT_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_DIRECT_H_

#include <memory>

#include "model/attention/attention.h"
#include "model/attention/layer_state.h"

namespace longwave {

// The reference (model/reference/attention.h) in double on the host, whatever the device: O(n^2),
// one piece per head and 64 rows. Exact for every bias and feature map.
std::unique_ptr<AttentionPass> MakeDirectPass(RouteContext context);

AttentionCost DirectCost(const AttentionShape& shape, int64_t n);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_DIRECT_H_
