#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_TILES_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_TILES_H_

#include <memory>

#include "model/attention/attention.h"
#include "model/attention/layer_state.h"

namespace longwave {

// Exact attention in O(n^2), every pair in a tile: for every bias and every feature map, signed
// ones and exact softmax among them. Memory O(n): phi(k), [v | 1] and the running sums of the
// context's heads. Phases: key maxima if the features need them, phi(k) and c, then one phase for
// every 4096 keys, each of whose pieces is a block of queries.
std::unique_ptr<AttentionPass> MakeTilesPass(RouteContext context);

// Of `heads` heads of the shape.
AttentionCost TilesCost(const AttentionShape& shape, int64_t heads, int64_t n,
                        int64_t element_bytes);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_TILES_H_
