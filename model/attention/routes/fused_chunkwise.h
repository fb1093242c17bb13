#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_FUSED_CHUNKWISE_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_FUSED_CHUNKWISE_H_

#include <memory>
#include <vector>

#include "model/attention/attention.h"
#include "model/attention/fused_layer.h"
#include "model/attention/layer_state.h"

namespace longwave {

// The chunkwise route in fp32 on the CPU's own kernels. The sequence is cut into ranges of blocks
// of 48 queries; a piece is one range of one head and walks it twice: backwards, keeping the state
// of all keys beyond each block's band after it, then forwards with the running state of those
// before, writing outputs as it goes. Features, values and states of a range stay in the caches of
// one core; nothing is kept for the whole sequence but the sums of whole ranges, which are formed
// and scanned from both ends first if there is more than one. Sums are of positive numbers only,
// never a total minus a prefix. O(n (K + m)) d, no memory beyond q, k, v that grows with n faster
// than 128 states a head. `bands` are those of the
// context's heads.
std::unique_ptr<AttentionPass> MakeFusedChunkwisePass(RouteContext context,
                                                      std::shared_ptr<const FusedLayer> layer,
                                                      std::shared_ptr<const FusedBands> bands);

AttentionCost FusedChunkwiseCost(const FusedLayer& layer, const FusedBands& bands, int64_t n);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_FUSED_CHUNKWISE_H_
