#include "model/reference/bias.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>

namespace longwave {
namespace {

// The largest integer <= x, where x is known to about 1e-15 relative: a value that close to an
// integer is that integer.
int64_t ExactFloor(double x) {
  const double nearest = std::round(x);
  return static_cast<int64_t>(std::abs(x - nearest) < 1e-9 ? nearest : std::floor(x));
}

}  // namespace

int64_t ReferenceT5Bucket(int64_t offset, const BiasConfig& bias, bool causal) {
  int64_t buckets = bias.num_buckets;
  int64_t first = 0;
  int64_t distance = std::max<int64_t>(0, -offset);
  if (!causal) {
    buckets /= 2;
    if (offset > 0) first = buckets;
    distance = std::abs(offset);
  }
  const int64_t single = buckets / 2;
  if (distance < single) return first + distance;
  const double growth = std::log(static_cast<double>(distance) / single) /
                        std::log(static_cast<double>(bias.max_distance) / single);
  return first + std::min(buckets - 1, single + ExactFloor(growth * (buckets - single)));
}

double ReferenceBias(const ModelConfig& config, const WeightMap& weights, int layer, int64_t head,
                     int64_t offset) {
  const BiasConfig& bias = config.attention.bias;
  if (bias.kind == BiasKind::kNone) return 0;
  const std::string name = bias.shared_layers
                               ? std::string("attention_bias")
                               : "layers." + std::to_string(layer) + ".attention.bias";
  const WeightTensor& tensor = weights.find(name)->second;
  const int64_t width = tensor.values.size() / config.num_heads;
  const float* stored = &tensor.values[head * width];
  switch (bias.kind) {
    case BiasKind::kTable:
    case BiasKind::kClipped: {
      const int64_t furthest = width / 2;  // 2 * furthest + 1 offsets are stored
      return stored[std::clamp(offset, -furthest, furthest) + furthest];
    }
    case BiasKind::kT5:
      return stored[ReferenceT5Bucket(offset, bias, config.attention.causal)];
    case BiasKind::kAlibi:
      return -static_cast<double>(stored[0]) * static_cast<double>(std::abs(offset));
    case BiasKind::kNone:
      break;
  }
  return 0;
}

}  // namespace longwave
