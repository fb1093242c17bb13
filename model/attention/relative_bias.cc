#include "model/attention/relative_bias.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"

namespace longwave {
namespace {

constexpr int64_t kAnyLength = std::numeric_limits<int64_t>::max();

// Columns of the stored tensor, as in weight_table.h.
int64_t StoredColumns(const BiasConfig& bias) {
  switch (bias.kind) {
    case BiasKind::kTable:
      return 2 * bias.table_length - 1;
    case BiasKind::kClipped:
      return 2 * bias.max_distance + 1;
    case BiasKind::kT5:
      return bias.num_buckets;
    case BiasKind::kAlibi:
      return 1;
    case BiasKind::kNone:
      break;
  }
  return 0;
}

int64_t ExplicitDistance(const BiasConfig& bias) {
  switch (bias.kind) {
    case BiasKind::kTable:
      return bias.table_length - 1;
    case BiasKind::kClipped:
    case BiasKind::kT5:
      return bias.max_distance;
    case BiasKind::kAlibi:
    case BiasKind::kNone:
      break;
  }
  return 0;
}

// The column that holds b(o), for o = -D .. D in this order.
std::vector<int64_t> ColumnOfOffset(const BiasConfig& bias, bool causal, int64_t distance) {
  std::vector<int64_t> columns(2 * distance + 1);
  for (int64_t o = -distance; o <= distance; ++o) {
    columns[o + distance] = bias.kind == BiasKind::kT5
                                ? T5Bucket(o, bias.num_buckets, bias.max_distance, causal)
                                : o + distance;
  }
  return columns;
}

absl::StatusOr<const float*> StoredValues(const ModelConfig& config, const WeightMap& weights,
                                          int layer) {
  const BiasConfig& bias = config.attention.bias;
  const std::string name =
      bias.shared_layers ? "attention_bias" : absl::StrCat("layers.", layer, ".attention.bias");
  const auto found = weights.find(name);
  if (found == weights.end()) {
    return MakeError(ErrorReason::kInvalidField, absl::StrCat("tensor ", name, " is missing"));
  }
  const std::vector<float>& values = found->second.values;
  const int64_t expected = config.num_heads * StoredColumns(bias);
  if (static_cast<int64_t>(values.size()) != expected) {
    return MakeError(
        ErrorReason::kInvalidField,
        absl::StrCat("tensor ", name, " has ", values.size(), " values, expected ", expected));
  }
  if (!std::all_of(values.begin(), values.end(), [](float b) { return std::isfinite(b); })) {
    return MakeError(ErrorReason::kInvalidField, absl::StrCat("tensor ", name, " is not finite"));
  }
  return values.data();
}

}  // namespace

int64_t T5Bucket(int64_t offset, int64_t num_buckets, int64_t max_distance, bool causal) {
  int64_t first = 0;
  int64_t distance = std::max<int64_t>(0, -offset);
  if (!causal) {
    num_buckets /= 2;
    distance = std::abs(offset);
    if (offset > 0) first = num_buckets;
  }
  const int64_t exact = num_buckets / 2;
  if (distance < exact) return first + distance;
  // Some distances lie exactly on a boundary (16, 32, 64 of 128, say) where the logarithms may come
  // out a rounding short; no other integer comes as near to one.
  constexpr double kRounding = 1e-9;
  const double octaves = std::log(static_cast<double>(distance) / exact) /
                         std::log(static_cast<double>(max_distance) / exact);
  const int64_t beyond_exact = static_cast<int64_t>(octaves * (num_buckets - exact) + kRounding);
  return first + std::min(exact + beyond_exact, num_buckets - 1);
}

absl::StatusOr<RelativeBias> RelativeBias::Create(const ModelConfig& config,
                                                  const WeightMap& weights, int layer) {
  const BiasConfig& bias = config.attention.bias;
  RelativeBias result;
  result.explicit_distance_ = ExplicitDistance(bias);
  result.max_tokens_ = bias.kind == BiasKind::kTable && bias.beyond == BeyondTable::kRefuse
                           ? bias.table_length
                           : kAnyLength;
  result.slopes_.assign(config.num_heads, 0);
  result.before_.assign(config.num_heads, {0.0F});
  result.after_.assign(config.num_heads, {0.0F});
  if (bias.kind == BiasKind::kNone) return result;

  const absl::StatusOr<const float*> stored = StoredValues(config, weights, layer);
  if (!stored.ok()) return stored.status();
  if (bias.kind == BiasKind::kAlibi) {
    for (int h = 0; h < result.heads(); ++h) result.slopes_[h] = -static_cast<double>((*stored)[h]);
    return result;
  }
  const int64_t distance = result.explicit_distance_;
  const std::vector<int64_t> columns = ColumnOfOffset(bias, config.attention.causal, distance);
  for (int h = 0; h < result.heads(); ++h) {
    result.FillSides(h, distance, columns, *stored + h * StoredColumns(bias));
  }
  return result;
}

RelativeBias RelativeBias::FromOffsets(int64_t reach, absl::Span<const float> near,
                                       absl::Span<const double> falls) {
  RelativeBias result;
  result.explicit_distance_ = reach;
  result.max_tokens_ = kAnyLength;
  result.before_.resize(falls.size());
  result.after_.resize(falls.size());
  std::vector<int64_t> columns(2 * reach + 1);
  std::iota(columns.begin(), columns.end(), 0);
  for (size_t h = 0; h < falls.size(); ++h) {
    result.slopes_.push_back(-falls[h]);
    result.FillSides(static_cast<int>(h), reach, columns, near.data() + h * (2 * reach + 1));
  }
  return result;
}

void RelativeBias::FillSides(int head, int64_t distance,
                             const std::vector<int64_t>& index_of_offset, const float* stored) {
  before_[head].resize(distance + 1);
  after_[head].resize(distance + 1);
  for (int64_t o = 0; o <= distance; ++o) {
    before_[head][o] = stored[index_of_offset[distance - o]];
    after_[head][o] = stored[index_of_offset[distance + o]];
  }
}

double RelativeBias::At(int head, int64_t offset) const {
  const std::vector<float>& side = offset < 0 ? before_[head] : after_[head];
  const int64_t distance = std::abs(offset);
  if (distance <= explicit_distance_) return side[distance];
  return side.back() + slopes_[head] * static_cast<double>(distance - explicit_distance_);
}

}  // namespace longwave
