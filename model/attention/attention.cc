#include "model/attention/attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/attention/layer_state.h"
#include "model/attention/routes/chunkwise.h"
#include "model/attention/routes/direct.h"
#include "model/attention/routes/tiles.h"
#include "model/base/error.h"

namespace longwave {

std::vector<int64_t> AllHeads(const AttentionShape& shape) {
  std::vector<int64_t> heads(shape.heads);
  std::iota(heads.begin(), heads.end(), 0);
  return heads;
}

namespace {

int64_t ElementBytes(at::ScalarType type) { return type == at::kDouble ? 8 : 4; }

class LayerAttention final : public Attention {
 public:
  LayerAttention(const ModelConfig& config, const AttentionShape& shape, at::Device device,
                 RelativeBias bias, FeatureMap features)
      : layer_{.config = config.attention,
               .shape = shape,
               .device = device,
               .weights =
                   ToeplitzWeights(std::move(bias), config.attention.causal, config.max_tokens),
               .features = std::move(features)},
        tile_type_(TilePrecision(layer_.weights.Spread()) == Precision::kFp32 ? at::kFloat
                                                                              : at::kDouble) {
    if (shape.positive() && layer_.weights.structured()) {
      chunkwise_weights_ = std::make_shared<const ChunkwiseWeights>(
          MakeChunkwiseWeights(layer_.weights, at::TensorOptions(device).dtype(tile_type_)));
    }
  }

  double spread() const { return layer_.weights.Spread(); }

  Route Plan(int64_t n) const override { return PlanRoute(layer_.shape, layer_.weights, n); }
  absl::Status Check(int64_t n, Route route) const override {
    return CheckRoute(layer_.shape, layer_.weights, n, route);
  }
  AttentionCost Cost(int64_t n, Route route) const override;
  std::unique_ptr<AttentionPass> Begin(Route route, at::TensorBase q, at::TensorBase k,
                                       at::TensorBase v, at::TensorBase out) const override;

 private:
  const LayerState layer_;
  const at::ScalarType tile_type_;
  std::shared_ptr<const ChunkwiseWeights> chunkwise_weights_;
};

AttentionCost LayerAttention::Cost(int64_t n, Route route) const {
  const int64_t bytes = ElementBytes(tile_type_);
  switch (route == Route::kAuto ? Plan(n) : route) {
    case Route::kDirect:
      return DirectCost(layer_.shape, n);
    case Route::kChunkwise:
      return ChunkwiseCost(layer_.shape, layer_.weights, n, bytes);
    default:
      return TilesCost(layer_.shape, layer_.shape.heads, n, bytes);
  }
}

std::unique_ptr<AttentionPass> LayerAttention::Begin(Route route, at::TensorBase q,
                                                     at::TensorBase k, at::TensorBase v,
                                                     at::TensorBase out) const {
  RouteContext context = {.layer = &layer_,
                          .heads = AllHeads(layer_.shape),
                          .precision = tile_type_,
                          .q = at::Tensor(std::move(q)),
                          .k = at::Tensor(std::move(k)),
                          .v = at::Tensor(std::move(v)),
                          .out = at::Tensor(std::move(out))};
  switch (route) {
    case Route::kDirect:
      return MakeDirectPass(std::move(context));
    case Route::kChunkwise:
      return MakeChunkwisePass(std::move(context), chunkwise_weights_);
    default:
      return MakeTilesPass(std::move(context));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Attention>> CreateAttention(const ModelConfig& config,
                                                                 const WeightMap& weights,
                                                                 int layer,
                                                                 const std::string& device) {
  absl::StatusOr<RelativeBias> bias = RelativeBias::Create(config, weights, layer);
  if (!bias.ok()) return bias.status();
  const at::Device place(device);
  absl::StatusOr<FeatureMap> features = FeatureMap::Create(config, weights, layer, place);
  if (!features.ok()) return features.status();
  const bool softmax = config.attention.features == FeatureKind::kSoftmax;
  const AttentionShape shape = {.heads = config.num_heads,
                                .head_dim = config.head_dim,
                                .features = softmax ? config.head_dim : config.features_per_head(),
                                .kind = config.attention.features,
                                .device = place.is_cpu() ? DeviceClass::kCpu : DeviceClass::kCuda};
  auto attention = std::make_unique<LayerAttention>(config, shape, place, *std::move(bias),
                                                    *std::move(features));
  if (attention->spread() > kMaxSpread) {
    return MakeError({.reason = ErrorReason::kInvalidField,
                      .field = absl::StrCat("attention.bias of layer ", layer),
                      .value = absl::StrCat(attention->spread()),
                      .limit = absl::StrCat(kMaxSpread)},
                     "the relative bias rises too far above its value at offset 0");
  }
  return attention;
}

}  // namespace longwave
