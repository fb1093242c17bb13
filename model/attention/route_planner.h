#ifndef LONGWAVE_MODEL_ATTENTION_ROUTE_PLANNER_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTE_PLANNER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/api/encoder.h"
#include "model/attention/interpolation.h"
#include "model/attention/route_costs.h"
#include "model/attention/toeplitz_weights.h"
#include "model/weights/model_config.h"

namespace longwave {

// What a route is chosen by. Nothing here is measured at run time: two replicas, or one restarted,
// take the same route and give the same bits.
enum class DeviceClass { kCpu, kCuda };

// The shape of one layer's attention.
struct AttentionShape {
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t features = 0;  // of phi; head_dim for kSoftmax
  FeatureKind kind = FeatureKind::kPrf;
  bool normalised = true;  // qk_norm
  bool causal = false;
  DeviceClass device = DeviceClass::kCpu;

  // phi is positive and the weights are its products with c: what the routes faster than tiles
  // rest on.
  bool positive() const { return kind != FeatureKind::kTrf && kind != FeatureKind::kSoftmax; }
};

// Arithmetic of a route for one head at length n.
enum class Precision {
  kFp32,
  kFp64,
  kTiles,  // FFT only: no transform is good enough, the head is computed in tiles
};

// Tokens in a block: the rows of a tile and the stride of the chunkwise states. 128 keeps the
// states of 1 000 000 tokens at 4 heads of 64 x 65 below 0.6 GiB a direction, is the default
// distance of T5 buckets, so that the band is one block to each side, and fills the matrix units:
// products of 128 rows ran at the rate of large ones (115 GFLOP/s a core, AVX-512), of 64 at 0.97
// of it.
inline constexpr int64_t kBlockTokens = 128;

// Longest sequence for which a caller may ask for a quadratic route.
inline constexpr int64_t kMaxQuadraticTokens = 16384;

// The guard of the FFT route, from the largest over the smallest row sum of C: fp32 if
// 2^-24 ratio <= 1e-6, else fp64 if 2^-53 ratio <= 1e-6, else tiles. Without qk_norm the features
// of different keys differ by factors that no row sum of C tells of, and fp32 is not taken.
Precision FftPrecision(double row_sum_ratio, bool normalised);

// What the transforms of one token in one (feature, column) channel cost, forward and back with the
// products around them, in floating-point operations of a tile's matrix products: by
// route_costs.json.
double TransformFlops(DeviceClass device, Precision precision, int64_t n);

// Arithmetic of tiles and chunkwise states, from ToeplitzWeights::Spread(): fp32 unless whole rows
// of c could fall out of its range.
Precision TilePrecision(double spread);
// Spread up to which fp64 tiles are safe; a layer beyond is refused at load.
inline constexpr double kMaxSpread = 600;

// Neighbouring blocks on each side that a band of so many tokens reaches into.
int64_t BandBlocks(int64_t band);
int64_t BandBlocks(const ToeplitzWeights& weights);

// How a head is computed. Several methods may stand behind one route.
enum class HeadMethod {
  kDirect,
  kTiles,
  kBand,     // chunkwise: tiles up to the tails, states beyond
  kBuckets,  // chunkwise: tiles where runs begin and end, prefix sums within
  kFft,
  kInterpolation,  // within the certificate
};
Route RouteOf(HeadMethod method);

// Heads of one layer that are computed together.
struct HeadGroup {
  HeadMethod method = HeadMethod::kTiles;
  std::vector<int64_t> heads;  // ascending

  Route route() const { return RouteOf(method); }
};
// Every head in one group; in the order of their first heads.
using HeadPlan = std::vector<HeadGroup>;
// The route of most heads; of equally many, the one with the lower number.
Route MainRoute(const HeadPlan& plan);
// "chunkwise", or "chunkwise 0-6 tiles 7" if heads differ; prefix sums are "chunkwise/buckets".
// Bands of different widths are groups of their own.
std::string PlanText(const HeadPlan& plan);

// All that a plan is a function of.
struct LayerFacts {
  AttentionShape shape;
  const ToeplitzWeights& weights;
  // What the model asks for instead of the planner's choice, at every length where it may be had.
  Route preferred = Route::kAuto;
  const RouteCosts& costs = BuiltInRouteCosts();
  // Null: the model does not ask for interpolation.
  const InterpolationCertificates* certificates = nullptr;

  // Whether the CPU's own fp32 kernels may compute the layer.
  bool fused() const;
};

// Floating-point operations of one head, as calibration and planner count them: products and sums,
// features included.
double HeadFlops(const LayerFacts& facts, HeadMethod method, int head, int64_t n);

// The plan of a layer. kAuto: per head the cheapest method that is exact for it or, if the model
// asks for that, certified. Precondition: 1 <= n <= weights.max_tokens(), and `route` passed
// CheckRoute.
HeadPlan PlanHeads(const LayerFacts& facts, int64_t n, Route route = Route::kAuto);

// Whether a caller may have `route`: FAILED_PRECONDITION ROUTE_NOT_EXACT with the reason if it is
// not exact for every head (kInterpolation: has no certificate for one), or quadratic above
// kMaxQuadraticTokens; SEQUENCE_TOO_LONG beyond the weights. kAuto: always OK within the weights.
absl::Status CheckRoute(const LayerFacts& facts, int64_t n, Route route);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTE_PLANNER_H_
