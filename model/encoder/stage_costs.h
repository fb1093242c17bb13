#ifndef LONGWAVE_MODEL_ENCODER_STAGE_COSTS_H_
#define LONGWAVE_MODEL_ENCODER_STAGE_COSTS_H_

#include <cstdint>
#include <vector>

#include "model/api/encoder.h"
#include "model/attention/attention.h"
#include "model/encoder/transformer.h"

// What the stages of a job weigh, in FLOPs of a matrix product: how a job is cut into slices, and
// what SequenceCostModel predicts. Functions of the model's shape, never of this machine.
namespace longwave {

// What one Step may compute, in FLOPs of a matrix product: 10 ms on two cores of 100 GFLOP/s each.
// The cut depends on nothing else, so a run has the same slices everywhere.
inline constexpr double kSliceFlops = 2e9;
// What the first write to a float of fresh memory costs: the system's page faults, 1.3 ns a float
// on two threads, beside a matrix product on them.
inline constexpr double kFirstTouchFlops = 400;
// What an element-wise pass costs beside a matrix product, in FLOPs per float: 1.5 G floats a
// second against 100 GFLOP/s.
inline constexpr double kElementFlops = 64;
// What one id of an n-gram costs to hash, beside a matrix product: 1 ns against 100 GFLOP/s.
inline constexpr double kHashFlops = 100;
inline constexpr double kWordFlops = 400;  // of words, a token on average
// What a FLOP of a route costs beside one of a large matrix product.
double RouteFlopWeight(Route route);

// What the operations of a layer's attention weigh: of its heads' routes the heaviest.
double AttentionFlopWeight(const Attention& attention, int64_t tokens, Route route);

// The routes of one sequence's layers; kAuto: each head takes its own.
using LayerRoutes = std::vector<Route>;
// The route of most layers; of equally many, the one with the lower number.
Route MainRoute(const Transformer& transformer, int64_t tokens, const LayerRoutes& routes);

// FLOPs of a stage for one row. Hashing n-grams includes the first touch of their buckets (0
// without n-grams), embedding that of x, and projecting in layer 0 that of q, k and v.
double HashFlopsPerRow(const Transformer& transformer);
double EmbedFlopsPerRow(const Transformer& transformer);
double QkvFlopsPerRow(const Transformer& transformer, int layer);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_STAGE_COSTS_H_
