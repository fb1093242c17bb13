#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_BATCHED_CHUNKWISE_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_BATCHED_CHUNKWISE_H_

#include <cstdint>
#include <memory>

#include "model/attention/attention.h"
#include "model/attention/layer_state.h"
#include "model/attention/routes/chunkwise_weights.h"

namespace longwave {

// The route `chunkwise` (chunkwise.h) for devices on which a launch costs as much as a block: the
// bands of many blocks are one batched product of the library for each head, reading overlapping
// windows of keys, and so are their products with the states. Same phases, same weights.
// Precondition: positive features.
// `score_bytes`: scores of one head that are alive at once; they set how many blocks one product
// takes.
inline constexpr int64_t kBatchedBandBytes = int64_t{64} << 20;
std::unique_ptr<AttentionPass> MakeBatchedChunkwisePass(
    RouteContext context, std::shared_ptr<const ChunkwiseWeights> weights,
    int64_t score_bytes = kBatchedBandBytes);

// With the default of score_bytes.
AttentionCost BatchedChunkwiseCost(const AttentionShape& shape, const ChunkwiseWeights& weights,
                                   int64_t n, int64_t element_bytes);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_BATCHED_CHUNKWISE_H_
