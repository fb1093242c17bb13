#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_BATCHED_TILES_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_BATCHED_TILES_H_

#include <cstdint>
#include <memory>

#include "model/attention/attention.h"
#include "model/attention/layer_state.h"

namespace longwave {

// The route `tiles` (tiles.h) for devices on which a launch costs as much as a tile: tall blocks of
// queries against long spans of keys, all heads in one batched product of the library. Every bias
// and every feature map. Phases: key maxima if the features need them, phi(k) and c, then one piece
// for each block of queries.
// `score_bytes`: scores that are alive at once; they set the height of a block.
inline constexpr int64_t kBatchedTileBytes = int64_t{128} << 20;
std::unique_ptr<AttentionPass> MakeBatchedTilesPass(RouteContext context,
                                                    int64_t score_bytes = kBatchedTileBytes);

// Of `heads` heads of the shape, with the default of score_bytes.
AttentionCost BatchedTilesCost(const AttentionShape& shape, int64_t heads, int64_t n,
                               int64_t element_bytes);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_BATCHED_TILES_H_
