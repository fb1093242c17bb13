#include "model/attention/feature_map.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"

namespace longwave {
namespace {

bool HasProjection(FeatureKind kind) {
  return kind == FeatureKind::kPrf || kind == FeatureKind::kSphere || kind == FeatureKind::kTrf;
}

bool IsRandom(FeatureKind kind) {
  return kind == FeatureKind::kPrf || kind == FeatureKind::kSphere;
}

int64_t FeatureCount(const AttentionConfig& config, int64_t head_dim,
                     const at::Tensor& projection) {
  if (!HasProjection(config.features)) return head_dim;
  return projection.size(1) * (config.features == FeatureKind::kTrf ? 2 : 1);
}

}  // namespace

BoundFeatures::BoundFeatures(const AttentionConfig& config, int64_t head_dim, at::Tensor projection)
    : config_(config),
      feature_count_(FeatureCount(config, head_dim, projection)),
      inverse_fourth_root_(std::pow(static_cast<double>(head_dim), -0.25)),
      log_norm_(0.5 * std::log(static_cast<double>(config.num_features))),
      stabilised_(!config.qk_norm && HasProjection(config.features)) {
  if (projection.defined()) projection_ = projection.transpose(1, 2);
}

BoundFeatures::Scaled BoundFeatures::Scale(const at::Tensor& rows) const {
  if (!config_.qk_norm) {
    at::Tensor x = rows.mul(inverse_fourth_root_);
    at::Tensor half_square = at::sum(x.square(), {-1}, /*keepdim=*/true).mul_(0.5);
    return {std::move(x), std::move(half_square)};
  }
  // The norm in double, so that no row overflows or vanishes when squared. A zero row keeps x^ = 0.
  const at::Tensor norm = at::linalg_vector_norm(rows, 2, {-1}, /*keepdim=*/true, at::kDouble);
  const at::Tensor present = norm > 0;
  const at::Tensor factor = at::where(present, config_.scale / norm, 0.0);
  return {rows.mul(factor.to(rows.scalar_type())),
          present.to(rows.scalar_type()).mul_(config_.scale * config_.scale / 2)};
}

at::Tensor BoundFeatures::RandomFeatures(const Scaled& scaled, const at::Tensor& shift) const {
  at::Tensor exponents = at::bmm(scaled.x, projection_);
  at::Tensor taken = scaled.half_square + log_norm_;
  if (shift.defined()) taken = taken.add_(shift);
  return exponents.sub_(taken).exp_();
}

at::Tensor BoundFeatures::TrigonometricFeatures(const Scaled& scaled,
                                                const at::Tensor& shift) const {
  const at::Tensor angles = at::bmm(scaled.x, projection_);
  at::Tensor exponent = scaled.half_square - log_norm_;
  if (shift.defined()) exponent = exponent.sub_(shift);
  return at::cat({angles.sin(), angles.cos()}, -1).mul_(exponent.exp_());
}

at::Tensor BoundFeatures::Features(const Scaled& scaled, const at::Tensor& shift) const {
  if (IsRandom(config_.features)) return RandomFeatures(scaled, shift);
  if (config_.features == FeatureKind::kTrf) return TrigonometricFeatures(scaled, shift);
  const at::Tensor x = scaled.x.narrow(-1, first_feature_, feature_count_);
  if (config_.features == FeatureKind::kSoftmax) return x;
  // elu(x) + 1 without the cancellation of expm1(x) + 1 for large negative x.
  return at::where(x > 0, x + 1, x.clamp_max(0).exp_());
}

// The part of the exponent that differs between features is W x; for kTrf there is none.
at::Tensor BoundFeatures::QueryMaximum(const at::Tensor& rows) const {
  const Scaled scaled = Scale(rows);
  if (config_.features == FeatureKind::kTrf) return scaled.half_square;
  return at::amax(at::bmm(scaled.x, projection_), {-1}, /*keepdim=*/true).sub_(scaled.half_square);
}

at::Tensor BoundFeatures::KeyMaximum(const at::Tensor& rows) const {
  return at::amax(QueryMaximum(rows), {1}, /*keepdim=*/true);
}

at::Tensor BoundFeatures::Keys(const at::Tensor& rows, const at::Tensor& key_maximum) const {
  return Features(Scale(rows), key_maximum);
}

at::Tensor BoundFeatures::Queries(const at::Tensor& rows, const at::Tensor& row_maximum) const {
  return Features(Scale(rows), row_maximum);
}

at::Tensor BoundFeatures::Queries(const at::Tensor& rows) const {
  return Queries(rows, stabilised_ ? QueryMaximum(rows) : at::Tensor());
}

BoundFeatures BoundFeatures::Slice(int64_t first, int64_t count) const {
  BoundFeatures slice = *this;
  slice.feature_count_ = count;
  if (projection_.defined()) {
    slice.projection_ = projection_.narrow(2, first, count);
  } else {
    slice.first_feature_ = first_feature_ + first;
  }
  return slice;
}

absl::StatusOr<FeatureMap> FeatureMap::Create(const ModelConfig& config, const WeightMap& weights,
                                              int layer, at::Device device) {
  FeatureMap map;
  map.config_ = config.attention;
  map.head_dim_ = config.head_dim;
  map.head_projections_.resize(config.num_heads);
  if (!HasProjection(config.attention.features)) return map;

  const std::string name = absl::StrCat("layers.", layer, ".attention.projection");
  const auto found = weights.find(name);
  const int64_t per_head = config.attention.num_features * config.head_dim;
  if (found == weights.end() ||
      static_cast<int64_t>(found->second.values.size()) != config.num_heads * per_head) {
    return MakeError(
        ErrorReason::kInvalidField,
        absl::StrCat("tensor ", name, " is missing or not of shape [", config.num_heads, ", ",
                     config.attention.num_features, ", ", config.head_dim, "]"));
  }
  const std::vector<float>& values = found->second.values;
  for (int64_t h = 0; h < config.num_heads; ++h) {
    map.head_projections_[h].assign(values.begin() + h * per_head,
                                    values.begin() + (h + 1) * per_head);
  }
  at::Tensor stored = at::empty({config.num_heads, config.attention.num_features, config.head_dim});
  std::copy(values.begin(), values.end(), stored.data_ptr<float>());
  map.projection_ = stored.to(device);
  map.projection_double_ = map.projection_.to(at::kDouble);
  return map;
}

BoundFeatures FeatureMap::Bind(const std::vector<int64_t>& heads, at::ScalarType type) const {
  at::Tensor projection = type == at::kDouble ? projection_double_ : projection_;
  if (projection.defined() && static_cast<int64_t>(heads.size()) != projection.size(0)) {
    projection =
        at::index_select(projection, 0, at::tensor(heads, at::kLong).to(projection.device()));
  }
  return BoundFeatures(config_, head_dim_, std::move(projection));
}

}  // namespace longwave
