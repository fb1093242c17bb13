#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_BUCKETS_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_BUCKETS_H_

#include <memory>
#include <vector>

#include "model/attention/attention.h"
#include "model/attention/bucket_layout.h"
#include "model/attention/fused_layer.h"
#include "model/attention/layer_state.h"

namespace longwave {

// Exact attention where c is constant over long runs of distances (logarithmic buckets that reach
// as far as they like), in fp32 on the CPU's own kernels, at O(n * runs). For each block of 48
// queries
//   sums = tiles where a run begins or ends + phi(q) sum over runs of c (S(end) - S(begin)),
// S being sums of phi(k) [v | 1]^T up to a key: in fp32 from the start of its segment of 4096 keys,
// in double over whole segments. Phases, for as many heads at a time as memory allows: features,
// values, c and prefix sums by segment; sums of segments; outputs by range of blocks. Precondition:
// FusedLayer::Supports and fp32 tiles.
std::unique_ptr<AttentionPass> MakeBucketsPass(RouteContext context,
                                               std::shared_ptr<const FusedLayer> layer);

AttentionCost BucketsCost(const LayerState& layer, const FusedLayer& fused,
                          const std::vector<int64_t>& heads, int64_t n);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_BUCKETS_H_
