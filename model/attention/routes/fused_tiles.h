#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_FUSED_TILES_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_FUSED_TILES_H_

#include <cstdint>
#include <memory>

#include "model/attention/attention.h"
#include "model/attention/fused_layer.h"
#include "model/attention/layer_state.h"

namespace longwave {

// Every key against every query in fp32 on the CPU's own kernels, for any bias: phi(k) and v of the
// whole sequence are formed first, then pieces of up to 384 queries of one head walk over all keys.
// O(n^2 (m + d)); memory O(n (m + d)) a head.
std::unique_ptr<AttentionPass> MakeFusedTilesPass(RouteContext context,
                                                  std::shared_ptr<const FusedLayer> layer);

AttentionCost FusedTilesCost(const FusedLayer& layer, int64_t heads, bool causal, int64_t n);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_FUSED_TILES_H_
