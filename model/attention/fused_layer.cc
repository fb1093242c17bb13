#include "model/attention/fused_layer.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace longwave {
namespace {

constexpr int64_t kB = cpu::kRowBlock;

// c is kept for so many tokens a layer; longer quadratic passes form theirs anew, which is little
// beside them.
constexpr int64_t kMaxCachedTokens = 4096;

}  // namespace

float FusedSide::Decay(int64_t tokens) const {
  return static_cast<float>(std::exp(log_ratio * static_cast<double>(tokens)));
}

FusedSide MakeFusedSide(const ToeplitzTail& tail, int64_t reach, bool before) {
  FusedSide side;
  if (tail.absent) return side;
  side.present = true;
  side.constant = tail.log_ratio == 0;
  side.log_ratio = tail.log_ratio;
  side.scale = static_cast<float>(std::exp(tail.log_scale));
  for (int64_t i = 0; i < kB; ++i) {
    const int64_t distance = before ? reach + i + 1 : kB + reach - i;
    side.row_factors.push_back(static_cast<float>(
        std::exp(tail.log_scale + tail.log_ratio * static_cast<double>(distance))));
    side.key_weights.push_back(static_cast<float>(
        std::exp(tail.log_ratio * static_cast<double>(before ? kB - 1 - i : i))));
  }
  return side;
}

std::vector<float> WeightsInFloat(const ToeplitzWeights& weights, int64_t head, int64_t first,
                                  int64_t last) {
  const std::vector<double> exact = weights.Range(static_cast<int>(head), first, last);
  return {exact.begin(), exact.end()};
}

bool FusedLayer::Supports(const AttentionShape& shape) {
  return shape.device == DeviceClass::kCpu && shape.normalised && shape.positive();
}

FusedLayer::FusedLayer(const AttentionShape& shape, double scale,
                       const std::vector<std::vector<double>>& projections,
                       const ToeplitzWeights& weights, const cpu::Kernels& kernels)
    : kernels_(kernels),
      shape_{shape.features, shape.head_dim},
      weights_(weights),
      cached_tokens_(std::min(weights.max_tokens(), kMaxCachedTokens)) {
  const int64_t m = shape.features;
  const int64_t d = shape.head_dim;
  const int64_t width = cpu::PaddedColumns(m);
  for (int64_t h = 0; h < shape.heads; ++h) {
    cpu::HeadFeatures features = {.kind = shape.kind == FeatureKind::kElu
                                              ? cpu::HeadFeatures::Kind::kElu
                                              : cpu::HeadFeatures::Kind::kExponential,
                                  .head_dim = d,
                                  .features = m,
                                  .scale = static_cast<float>(scale)};
    if (shape.kind != FeatureKind::kElu) {
      cpu::AlignedFloats plain(m * d), transposed(d * width);
      std::fill(transposed.data(), transposed.data() + transposed.size(), 0.0f);
      for (int64_t r = 0; r < m; ++r) {
        for (int64_t c = 0; c < d; ++c) {
          const float w = static_cast<float>(projections[h][r * d + c]);
          plain.data()[r * d + c] = w;
          transposed.data()[c * width + r] = w;
        }
      }
      features.log_norm = static_cast<float>(0.5 * std::log(static_cast<double>(m)));
      features.projection = plain.data();
      features.transposed = transposed.data();
      projections_.push_back(std::move(plain));
      projections_.push_back(std::move(transposed));
    }
    features_.push_back(features);
    const int64_t edge = cached_tokens_ + kB - 1;
    near_.push_back(WeightsInFloat(weights, h, -edge, edge));
  }
}

FusedBands MakeFusedBands(const ToeplitzWeights& weights, const std::vector<int64_t>& heads,
                          int64_t least_band) {
  FusedBands bands;
  // Keys beyond are at least reach + 1 tokens off, which has to be K.
  int64_t band = least_band;
  for (const int64_t head : heads) {
    band = std::max(band, weights.structure(static_cast<int>(head)).band());
  }
  bands.reach = cpu::RoundUp(band - 1, cpu::kKeyGroup);
  const int64_t edge = bands.reach + kB - 1;
  for (const int64_t head : heads) {
    const int h = static_cast<int>(head);
    bands.heads.push_back(
        {.weights = WeightsInFloat(weights, head, -edge, edge),
         .before = MakeFusedSide(weights.before(h), bands.reach, /*before=*/true),
         .after = MakeFusedSide(weights.after(h), bands.reach, /*before=*/false)});
  }
  return bands;
}

}  // namespace longwave
