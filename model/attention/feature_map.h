#ifndef LONGWAVE_MODEL_ATTENTION_FEATURE_MAP_H_
#define LONGWAVE_MODEL_ATTENTION_FEATURE_MAP_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "model/weights/model_config.h"
#include "model/weights/model_folder.h"

namespace longwave {

// phi of some heads in one precision. Rows are [heads, rows, head_dim] in that precision, features
// [heads, rows, features]; everything is on the layer's device. Definitions: model/README.md and
// ReferenceAttention. Thread-safe.
class BoundFeatures {
 public:
  BoundFeatures(const AttentionConfig& config, int64_t head_dim, at::Tensor projection);

  int64_t features() const { return feature_count_; }
  // Whether keys need Keys()'s `key_maximum` and queries Queries()'s `row_maximum`: without qk_norm
  // one maximum per head over all keys, and one per query row, are taken out of the exponents.
  bool stabilised() const { return stabilised_; }

  // The largest exponent over all rows and features, [heads, 1, 1]; of each row, [heads, rows, 1].
  // Precondition: stabilised().
  at::Tensor KeyMaximum(const at::Tensor& rows) const;
  at::Tensor QueryMaximum(const at::Tensor& rows) const;
  // phi. The maxima are undefined tensors unless stabilised().
  at::Tensor Keys(const at::Tensor& rows, const at::Tensor& key_maximum) const;
  at::Tensor Queries(const at::Tensor& rows, const at::Tensor& row_maximum) const;
  at::Tensor Queries(const at::Tensor& rows) const;

  // The map that yields only features [first, first + count).
  BoundFeatures Slice(int64_t first, int64_t count) const;

 private:
  // x^ and |x^|^2 / 2 as [heads, rows, 1].
  struct Scaled {
    at::Tensor x;
    at::Tensor half_square;
  };
  Scaled Scale(const at::Tensor& rows) const;
  at::Tensor RandomFeatures(const Scaled& scaled, const at::Tensor& shift) const;
  at::Tensor TrigonometricFeatures(const Scaled& scaled, const at::Tensor& shift) const;
  at::Tensor Features(const Scaled& scaled, const at::Tensor& shift) const;

  AttentionConfig config_;
  at::Tensor projection_;  // transposed, [heads, head_dim, rows of W]
  int64_t feature_count_;
  int64_t first_feature_ = 0;
  double inverse_fourth_root_;  // d^(-1/4)
  double log_norm_;             // log sqrt(m)
  bool stabilised_;
};

// The feature map of one layer: its kind and its projection W, on one device.
class FeatureMap {
 public:
  // INVALID_ARGUMENT if the projection is absent or of another shape.
  static absl::StatusOr<FeatureMap> Create(const ModelConfig& config, const WeightMap& weights,
                                           int layer, at::Device device);

  // The map of these heads in kFloat or kDouble.
  BoundFeatures Bind(const std::vector<int64_t>& heads, at::ScalarType type) const;
  // W of one head, row-major [num_features, head_dim], in double; empty without a projection.
  const std::vector<double>& projection(int head) const { return head_projections_[head]; }

 private:
  FeatureMap() = default;

  AttentionConfig config_;
  int64_t head_dim_ = 0;
  at::Tensor projection_;         // fp32 [heads, num_features, head_dim]; undefined without one
  at::Tensor projection_double_;  // the same
  std::vector<std::vector<double>> head_projections_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_FEATURE_MAP_H_
