#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_CHUNKWISE_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_CHUNKWISE_H_

#include <memory>

#include "model/attention/attention.h"
#include "model/attention/layer_state.h"
#include "model/attention/routes/chunkwise_weights.h"

namespace longwave {

// Exact attention in O(n) where c is constant or exponential beyond a distance K:
//   z_i ~ sum over the band of tiles (phi(q_i) . phi(k_j)) c(j - i) [v_j | 1]
//         + phi(q_i) (A before-states + A' after-states),
// the states being sums of phi(k_j) [v_j | 1]^T over whole blocks of 128 tokens, counted from the
// sequence's start, scanned once from each end (never a total minus a prefix). Phases: key maxima
// if the features need them, block states, scans, outputs. Memory: one [features, head_dim + 1]
// state per block, head and side. `weights` are those of the context's heads in its precision.
// Precondition: positive features.
std::unique_ptr<AttentionPass> MakeChunkwisePass(RouteContext context,
                                                 std::shared_ptr<const ChunkwiseWeights> weights);

AttentionCost ChunkwiseCost(const AttentionShape& shape, const ChunkwiseWeights& weights, int64_t n,
                            int64_t element_bytes);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_CHUNKWISE_H_
