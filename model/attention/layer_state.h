#ifndef LONGWAVE_MODEL_ATTENTION_LAYER_STATE_H_
#define LONGWAVE_MODEL_ATTENTION_LAYER_STATE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/attention/feature_map.h"
#include "model/attention/route_planner.h"
#include "model/attention/toeplitz_weights.h"
#include "model/weights/model_config.h"

namespace longwave {

// What all passes of one layer share. Immutable but for the caches inside.
struct LayerState {
  AttentionConfig config;
  AttentionShape shape;
  at::Device device;
  ToeplitzWeights weights;
  FeatureMap features;
};

// One sequence on its way through one route, for some of the heads.
struct RouteContext {
  const LayerState* layer = nullptr;  // outlives the pass; the fused routes need none
  std::vector<int64_t> heads;         // ascending
  at::ScalarType precision = at::kFloat;
  at::Tensor q, k, v, out;  // [n, all heads, head_dim]
  // [n, all heads] fp32, where the fused routes leave the denominators of the rows; or undefined.
  at::Tensor denominators;

  int64_t tokens() const { return q.size(0); }
  int64_t head_count() const { return static_cast<int64_t>(heads.size()); }
};

std::vector<int64_t> AllHeads(const AttentionShape& shape);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_LAYER_STATE_H_
