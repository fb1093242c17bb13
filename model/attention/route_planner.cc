#include "model/attention/route_planner.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/attention/bucket_layout.h"
#include "model/attention/fused_layer.h"
#include "model/base/error.h"

namespace longwave {
namespace {

// Largest relative error that the guard accepts of a transform. Measured errors stay below 3.4
// times the prediction, so outputs keep five digits.
constexpr double kMaxFftError = 1e-6;

// What moving a byte of a prefix sum through the caches costs, in operations of matrix products.
constexpr double kFlopsPerStateByte = 5;

const DeviceCosts& CostsOf(const LayerFacts& facts) {
  return facts.shape.device == DeviceClass::kCpu ? facts.costs.cpu : facts.costs.cuda;
}

double Channels(const AttentionShape& shape) {
  return static_cast<double>(shape.features * (shape.head_dim + 1));
}

Precision HeadPrecision(const LayerFacts& facts, int head, int64_t n) {
  return FftPrecision(facts.weights.RowSumRatio(head, n), facts.shape.normalised);
}

bool AnyHeadInTiles(const LayerFacts& facts, int64_t n) {
  for (int h = 0; h < facts.weights.heads(); ++h) {
    if (HeadPrecision(facts, h, n) == Precision::kTiles) return true;
  }
  return false;
}

double FftSeconds(const LayerFacts& facts, Precision precision, int64_t n) {
  const DeviceCosts& costs = CostsOf(facts);
  return static_cast<double>(n) * Channels(facts.shape) *
         SecondsPerToken(precision == Precision::kFp64 ? costs.fft_fp64 : costs.fft_fp32, n);
}

double MethodSeconds(const LayerFacts& facts, HeadMethod method, int head, int64_t n) {
  const DeviceCosts& costs = CostsOf(facts);
  const double flops = HeadFlops(facts, method, head, n);
  switch (method) {
    case HeadMethod::kBand:
      return costs.band.Seconds(flops);
    case HeadMethod::kBuckets:
      return costs.buckets.Seconds(flops);
    case HeadMethod::kInterpolation:
      return costs.interpolation.Seconds(flops);
    default:
      return costs.tiles.Seconds(flops);
  }
}

bool HasCertificate(const LayerFacts& facts, int head, int64_t n) {
  return facts.fused() && facts.certificates != nullptr && facts.certificates->Covers(head, n);
}

bool HasBuckets(const LayerFacts& facts, int head) {
  return facts.fused() && facts.weights.structure(head).bucketed();
}

// The cheaper of the two.
HeadMethod ChunkwiseMethod(const LayerFacts& facts, int head, int64_t n) {
  if (!facts.weights.structure(head).tailed()) return HeadMethod::kBuckets;
  if (!HasBuckets(facts, head)) return HeadMethod::kBand;
  return MethodSeconds(facts, HeadMethod::kBuckets, head, n) <
                 MethodSeconds(facts, HeadMethod::kBand, head, n)
             ? HeadMethod::kBuckets
             : HeadMethod::kBand;
}

// Queries of a block of the band and how far its keys reach beyond the block.
struct Band {
  int64_t block = 0;
  int64_t reach = 0;
};
Band BandOf(const LayerFacts& facts, int head) {
  const int64_t band = facts.weights.structure(head).band();
  if (!facts.fused()) return {kBlockTokens, BandBlocks(band) * kBlockTokens};
  constexpr int64_t kGroup = BucketLayout::kGroup;
  return {BucketLayout::kRows, (std::max<int64_t>(band, 1) - 1 + kGroup - 1) / kGroup * kGroup};
}

// The cheapest of the methods that are exact for the head. Where two cost the same (a band as wide
// as the sequence, and tiles) the first that is named here.
HeadMethod CheapestMethod(const LayerFacts& facts, int head, int64_t n) {
  if (!facts.shape.positive()) return HeadMethod::kTiles;
  HeadMethod best = HeadMethod::kTiles;
  double seconds = MethodSeconds(facts, best, head, n);
  if (facts.weights.structure(head).tailed() || HasBuckets(facts, head)) {
    const HeadMethod chunkwise = ChunkwiseMethod(facts, head, n);
    const double linear = MethodSeconds(facts, chunkwise, head, n);
    if (linear <= seconds) {
      best = chunkwise;
      seconds = linear;
    }
  }
  if (HasCertificate(facts, head, n)) {
    const double interpolated = MethodSeconds(facts, HeadMethod::kInterpolation, head, n);
    if (interpolated < seconds) {
      best = HeadMethod::kInterpolation;
      seconds = interpolated;
    }
  }
  // Where transforms cannot win whatever the precision, the row sums need not be formed.
  if (FftSeconds(facts, Precision::kFp32, n) >= seconds) return best;
  const Precision precision = HeadPrecision(facts, head, n);
  if (precision == Precision::kTiles) return best;
  return FftSeconds(facts, precision, n) < seconds ? HeadMethod::kFft : best;
}

HeadMethod MethodFor(const LayerFacts& facts, int head, int64_t n, Route route) {
  switch (route) {
    case Route::kDirect:
      return HeadMethod::kDirect;
    case Route::kTiles:
      return HeadMethod::kTiles;
    case Route::kChunkwise:
      return ChunkwiseMethod(facts, head, n);
    case Route::kFft:
      return HeadMethod::kFft;
    case Route::kInterpolation:
      return HeadMethod::kInterpolation;
    default:
      return CheapestMethod(facts, head, n);
  }
}

// Bands in one group are computed as wide as the widest, so they differ by less than a factor of
// two.
int64_t BandClass(const LayerFacts& facts, HeadMethod method, int head) {
  if (method != HeadMethod::kBand) return 0;
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(BandOf(facts, head).reach)));
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

double TransformFlops(DeviceClass device, Precision precision, int64_t n) {
  const RouteCosts& all = BuiltInRouteCosts();
  const DeviceCosts& costs = device == DeviceClass::kCpu ? all.cpu : all.cuda;
  return SecondsPerToken(precision == Precision::kFp64 ? costs.fft_fp64 : costs.fft_fp32, n) *
         costs.tiles.gflops * 1e9;
}

Precision TilePrecision(double spread) {
  // e^-60 is 9e-27: a row whose largest weight is that small, times phi(q) . phi(k) of 1e-4, still
  // has its terms down to 2^-24 of the largest above the smallest normal float, 1.2e-38.
  constexpr double kMaxFloatSpread = 60;
  return spread <= kMaxFloatSpread ? Precision::kFp32 : Precision::kFp64;
}

int64_t BandBlocks(int64_t band) {
  // Keys in the block w + 1 away are at least w * B + 1 tokens off, which must reach the band's
  // end.
  return (std::max<int64_t>(band, 1) - 1 + kBlockTokens - 1) / kBlockTokens;
}

int64_t BandBlocks(const ToeplitzWeights& weights) { return BandBlocks(weights.band()); }

bool LayerFacts::fused() const {
  return FusedLayer::Supports(shape) && TilePrecision(weights.Spread()) == Precision::kFp32;
}

Route RouteOf(HeadMethod method) {
  switch (method) {
    case HeadMethod::kDirect:
      return Route::kDirect;
    case HeadMethod::kTiles:
      return Route::kTiles;
    case HeadMethod::kBand:
    case HeadMethod::kBuckets:
      return Route::kChunkwise;
    case HeadMethod::kFft:
      return Route::kFft;
    case HeadMethod::kInterpolation:
      return Route::kInterpolation;
  }
  return Route::kTiles;
}

Route MainRoute(const HeadPlan& plan) {
  std::map<Route, size_t> heads;
  for (const HeadGroup& group : plan) heads[group.route()] += group.heads.size();
  return std::max_element(heads.begin(), heads.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

std::string PlanText(const HeadPlan& plan) {
  std::string text;
  for (const HeadGroup& group : plan) {
    absl::StrAppend(&text, text.empty() ? "" : " ", RouteName(group.route()),
                    group.method == HeadMethod::kBuckets ? "/buckets" : "");
    if (plan.size() == 1) return text;
    for (size_t i = 0; i < group.heads.size();) {
      size_t last = i;
      while (last + 1 < group.heads.size() && group.heads[last + 1] == group.heads[last] + 1)
        ++last;
      absl::StrAppend(&text, i == 0 ? " " : ",", group.heads[i]);
      if (last > i) absl::StrAppend(&text, "-", group.heads[last]);
      i = last + 1;
    }
  }
  return text;
}

double HeadFlops(const LayerFacts& facts, HeadMethod method, int head, int64_t n) {
  const AttentionShape& shape = facts.shape;
  const double m = static_cast<double>(shape.features);
  const double d1 = static_cast<double>(shape.head_dim + 1);
  const double tokens = static_cast<double>(n);
  const double features = 4 * tokens * m * static_cast<double>(shape.head_dim);
  if (method == HeadMethod::kFft) return tokens * m * d1 * (10 * std::log2(2 * tokens) + 12);
  const double sides = shape.causal ? 1 : 2;
  // Causal tiles beyond the diagonal are not computed.
  double keys = tokens * sides / 2;
  double states = 0;
  if (method == HeadMethod::kBand) {
    const Band band = BandOf(facts, head);
    // Up to a band's width there is nothing beyond it.
    if (n > band.block + band.reach) states = 4 * tokens * m * d1;
    keys =
        std::min(keys, static_cast<double>(band.block) + sides * static_cast<double>(band.reach));
  }
  if (method == HeadMethod::kBuckets) {
    const HeadStructure& structure = facts.weights.structure(head);
    const int64_t state_bytes = 4 * shape.features * (shape.head_dim + 1);
    const BucketLayout layout(structure, shape.causal, n, 4 * (shape.features + shape.head_dim),
                              state_bytes);
    keys = layout.tile_keys();
    // Two prefixes are read for every sum of a block.
    if (layout.sums() > 0) {
      states = 4 * tokens * m * d1 + tokens / BucketLayout::kRows * layout.sums() * 2 *
                                         kFlopsPerStateByte * static_cast<double>(state_bytes);
    }
  }
  if (method == HeadMethod::kInterpolation) {
    const double block = static_cast<double>(InterpolationBlock(n));
    const double nodes = static_cast<double>(facts.certificates->at(head, n).nodes);
    const double blocks = std::ceil(tokens / block);
    keys = std::min(keys, block * (sides + 1));
    if (blocks > 2) {
      // Moments, their coupling (causal: half of it) and their application.
      const double terms = blocks * nodes;
      states = 4 * tokens * nodes * m * d1 + 2 * terms * terms * m * d1 * sides / 2;
    }
  }
  return 2 * tokens * keys * (m + d1) + states + features;
}

HeadPlan PlanHeads(const LayerFacts& facts, int64_t n, Route route) {
  if (route == Route::kAuto && CheckRoute(facts, n, facts.preferred).ok()) route = facts.preferred;
  HeadPlan plan;
  std::vector<int64_t> classes;  // of the groups
  for (int head = 0; head < facts.weights.heads(); ++head) {
    const HeadMethod method = MethodFor(facts, head, n, route);
    const int64_t band = BandClass(facts, method, head);
    size_t group = 0;
    while (group < plan.size() && (plan[group].method != method || classes[group] != band)) ++group;
    if (group == plan.size()) {
      plan.push_back({.method = method});
      classes.push_back(band);
    }
    plan[group].heads.push_back(head);
  }
  return plan;
}

absl::Status CheckRoute(const LayerFacts& facts, int64_t n, Route route) {
  const AttentionShape& shape = facts.shape;
  const ToeplitzWeights& weights = facts.weights;
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
      for (int h = 0; h < weights.heads(); ++h) {
        if (!weights.structure(h).tailed() && !HasBuckets(facts, h)) {
          return NotExact(route, "the bias has no structure at a distance");
        }
      }
      return absl::OkStatus();
    case Route::kFft:
      if (!shape.positive()) return NotExact(route, "the features are not positive");
      if (n > kMaxQuadraticTokens && AnyHeadInTiles(facts, n)) return TooQuadratic(route, n);
      return absl::OkStatus();
    case Route::kInterpolation:
      if (facts.certificates == nullptr) {
        return NotExact(route, InterpolationCertificates().Refusal(n));
      }
      if (!facts.fused()) return NotExact(route, "only the CPU's fp32 kernels have it");
      if (const std::string why = facts.certificates->Refusal(n); !why.empty()) {
        return NotExact(route, why);
      }
      return absl::OkStatus();
  }
  return MakeError(ErrorReason::kInternal, "unknown route");
}

}  // namespace longwave
