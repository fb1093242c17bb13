#include "model/attention/route_planner.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"

namespace longwave {
namespace {

// Largest relative error that the guard accepts of a transform. Measured errors stay below 3.4
// times the prediction, so outputs keep five digits.
constexpr double kMaxFftError = 1e-6;

// Of one token against so many keys.
double TileCost(const AttentionShape& shape, double keys) {
  return 2 * keys * static_cast<double>(shape.features + shape.head_dim);
}

// Causal tiles beyond the diagonal are not computed.
double QuadraticCost(const AttentionShape& shape, int64_t n) {
  return TileCost(shape, static_cast<double>(n)) * (shape.causal ? 0.5 : 1);
}

double ChunkwiseCost(const AttentionShape& shape, const ToeplitzWeights& weights, int64_t n) {
  const int64_t sides = shape.causal ? 1 : 2;
  const double window = static_cast<double>((sides * BandBlocks(weights) + 1) * kBlockTokens);
  const double states = 8.0 * shape.features * (shape.head_dim + 1);
  return TileCost(shape, std::min<double>(window, n)) + states;
}

Precision HeadPrecision(const AttentionShape& shape, const ToeplitzWeights& weights, int head,
                        int64_t n) {
  return FftPrecision(weights.RowSumRatio(head, n), shape.normalised);
}

double FftCost(const AttentionShape& shape, const ToeplitzWeights& weights, int64_t n) {
  const double channels = static_cast<double>(shape.features * (shape.head_dim + 1));
  double total = 0;
  for (int h = 0; h < weights.heads(); ++h) {
    const Precision precision = HeadPrecision(shape, weights, h, n);
    total += precision == Precision::kTiles ? QuadraticCost(shape, n)
                                            : TransformFlops(shape.device, precision, n) * channels;
  }
  return total / weights.heads();
}

// Below this the transforms cannot win whatever the precision, and the row sums need not be formed.
bool FftMayWin(const AttentionShape& shape, int64_t n, double other_cost) {
  const double channels = static_cast<double>(shape.features * (shape.head_dim + 1));
  return TransformFlops(shape.device, Precision::kFp32, n) * channels < other_cost;
}

bool AllHeadsInTiles(const AttentionShape& shape, const ToeplitzWeights& weights, int64_t n) {
  for (int h = 0; h < weights.heads(); ++h) {
    if (HeadPrecision(shape, weights, h, n) != Precision::kTiles) return false;
  }
  return true;
}

bool AnyHeadInTiles(const AttentionShape& shape, const ToeplitzWeights& weights, int64_t n) {
  for (int h = 0; h < weights.heads(); ++h) {
    if (HeadPrecision(shape, weights, h, n) == Precision::kTiles) return true;
  }
  return false;
}

absl::Status NotExact(Route route, absl::string_view why) {
  return MakeError({.reason = ErrorReason::kRouteNotExact, .value = std::string(RouteName(route))},
                   absl::StrCat("route ", RouteName(route), " is not to be had: ", why));
}

absl::Status TooQuadratic(Route route, int64_t n) {
  return MakeError({.reason = ErrorReason::kRouteNotExact,
                    .value = absl::StrCat(n),
                    .limit = absl::StrCat(kMaxQuadraticTokens)},
                   absl::StrCat("route ", RouteName(route), " is quadratic in the length"));
}

}  // namespace

Precision FftPrecision(double row_sum_ratio, bool normalised) {
  if (normalised && 0x1p-24 * row_sum_ratio <= kMaxFftError) return Precision::kFp32;
  if (0x1p-53 * row_sum_ratio <= kMaxFftError) return Precision::kFp64;
  return Precision::kTiles;
}

// CPU (Zen 5, MKL, one thread): 5 ns fp32 and 13 ns fp64 as long as a batch of channels stays in
// the caches, at n = 64 k 10 and 20 ns, against 115 GFLOP/s of matrix products. Cards: from byte
// counts (68 to 100 bytes a channel at 80 % of the memory's rate, against fp32 matrix products
// through memory); not measured.
double TransformFlops(DeviceClass device, Precision precision, int64_t n) {
  constexpr int64_t kCachedTokens = 32768;
  const bool wide = precision == Precision::kFp64;
  if (device == DeviceClass::kCuda) return wide ? 1000 : 500;
  if (n <= kCachedTokens) return wide ? 1500 : 600;
  return wide ? 2400 : 1200;
}

Precision TilePrecision(double spread) {
  // e^-60 is 9e-27: a row whose largest weight is that small, times phi(q) . phi(k) of 1e-4, still
  // has its terms down to 2^-24 of the largest above the smallest normal float, 1.2e-38.
  constexpr double kMaxFloatSpread = 60;
  return spread <= kMaxFloatSpread ? Precision::kFp32 : Precision::kFp64;
}

int64_t BandBlocks(const ToeplitzWeights& weights) {
  // Keys in the block w + 1 away are at least w * B + 1 tokens off, which must reach K.
  return (std::max<int64_t>(weights.band(), 1) - 1 + kBlockTokens - 1) / kBlockTokens;
}

Route PlanRoute(const AttentionShape& shape, const ToeplitzWeights& weights, int64_t n) {
  if (!shape.positive()) return Route::kTiles;
  const Route best = weights.structured() ? Route::kChunkwise : Route::kTiles;
  const double cost =
      weights.structured() ? ChunkwiseCost(shape, weights, n) : QuadraticCost(shape, n);
  if (!FftMayWin(shape, n, cost) || AllHeadsInTiles(shape, weights, n)) return best;
  return FftCost(shape, weights, n) < cost ? Route::kFft : best;
}

absl::Status CheckRoute(const AttentionShape& shape, const ToeplitzWeights& weights, int64_t n,
                        Route route) {
  if (n > weights.max_tokens()) {
    return MakeError({.reason = ErrorReason::kSequenceTooLong,
                      .value = absl::StrCat(n),
                      .limit = absl::StrCat(weights.max_tokens())},
                     "the relative bias is stored for shorter sequences");
  }
  switch (route) {
    case Route::kAuto:
      return absl::OkStatus();
    case Route::kDirect:
    case Route::kTiles:
      return n <= kMaxQuadraticTokens ? absl::OkStatus() : TooQuadratic(route, n);
    case Route::kChunkwise:
      if (!shape.positive()) return NotExact(route, "the features are not positive");
      if (!weights.structured()) return NotExact(route, "the bias has no structure at a distance");
      return absl::OkStatus();
    case Route::kFft:
      if (!shape.positive()) return NotExact(route, "the features are not positive");
      if (n > kMaxQuadraticTokens && AnyHeadInTiles(shape, weights, n))
        return TooQuadratic(route, n);
      return absl::OkStatus();
    case Route::kInterpolation:
      return NotExact(route, "this build has no certificate for it");
  }
  return MakeError(ErrorReason::kInternal, "unknown route");
}

}  // namespace longwave
