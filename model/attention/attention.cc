#include "model/attention/attention.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/attention/layer_state.h"
#include "model/attention/phased_pass.h"
#include "model/attention/routes/chunkwise.h"
#include "model/attention/routes/direct.h"
#include "model/attention/routes/fft.h"
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
  AttentionCounters Counters() const override {
    return {.fft_fp32 = fft_fp32_.load(std::memory_order_relaxed),
            .fft_fp64 = fft_fp64_.load(std::memory_order_relaxed),
            .fft_tiles = fft_tiles_.load(std::memory_order_relaxed)};
  }
  std::unique_ptr<AttentionPass> Begin(Route route, at::TensorBase q, at::TensorBase k,
                                       at::TensorBase v, at::TensorBase out) const override;

 private:
  // Heads by what the guard takes for transforms of n tokens.
  struct GuardedHeads {
    std::vector<int64_t> fp32;
    std::vector<int64_t> fp64;
    std::vector<int64_t> tiles;
  };
  GuardedHeads Guard(int64_t n) const;
  AttentionCost GuardedCost(int64_t n) const;
  std::unique_ptr<AttentionPass> BeginGuarded(const RouteContext& context) const;

  const LayerState layer_;
  const at::ScalarType tile_type_;
  std::shared_ptr<const ChunkwiseWeights> chunkwise_weights_;
  mutable std::atomic<int64_t> fft_fp32_{0};
  mutable std::atomic<int64_t> fft_fp64_{0};
  mutable std::atomic<int64_t> fft_tiles_{0};
};

LayerAttention::GuardedHeads LayerAttention::Guard(int64_t n) const {
  GuardedHeads heads;
  for (int h = 0; h < layer_.shape.heads; ++h) {
    switch (FftPrecision(layer_.weights.RowSumRatio(h, n), layer_.shape.normalised)) {
      case Precision::kFp32:
        heads.fp32.push_back(h);
        break;
      case Precision::kFp64:
        heads.fp64.push_back(h);
        break;
      case Precision::kTiles:
        heads.tiles.push_back(h);
        break;
    }
  }
  return heads;
}

AttentionCost LayerAttention::GuardedCost(int64_t n) const {
  const GuardedHeads heads = Guard(n);
  AttentionCost total;
  const auto add = [&](const std::vector<int64_t>& members, auto cost_of) {
    if (members.empty()) return;
    const AttentionCost cost = cost_of(static_cast<int64_t>(members.size()));
    total.flops += cost.flops;
    total.bytes += cost.bytes;
    total.largest_piece_flops = std::max(total.largest_piece_flops, cost.largest_piece_flops);
  };
  add(heads.fp32, [&](int64_t count) { return FftCost(layer_.shape, count, n, at::kFloat); });
  add(heads.fp64, [&](int64_t count) { return FftCost(layer_.shape, count, n, at::kDouble); });
  add(heads.tiles,
      [&](int64_t count) { return TilesCost(layer_.shape, count, n, ElementBytes(tile_type_)); });
  return total;
}

std::unique_ptr<AttentionPass> LayerAttention::BeginGuarded(const RouteContext& context) const {
  const GuardedHeads heads = Guard(context.tokens());
  std::vector<std::unique_ptr<AttentionPass>> parts;
  const auto add = [&](const std::vector<int64_t>& members, at::ScalarType type, auto make,
                       std::atomic<int64_t>& counter) {
    if (members.empty()) return;
    counter.fetch_add(static_cast<int64_t>(members.size()), std::memory_order_relaxed);
    RouteContext part = context;
    part.heads = members;
    part.precision = type;
    parts.push_back(make(std::move(part)));
  };
  add(heads.fp32, at::kFloat, MakeFftPass, fft_fp32_);
  add(heads.fp64, at::kDouble, MakeFftPass, fft_fp64_);
  add(heads.tiles, tile_type_, MakeTilesPass, fft_tiles_);
  if (parts.size() == 1) return std::move(parts.front());
  return std::make_unique<SequentialPass>(std::move(parts));
}

AttentionCost LayerAttention::Cost(int64_t n, Route route) const {
  const int64_t bytes = ElementBytes(tile_type_);
  switch (route == Route::kAuto ? Plan(n) : route) {
    case Route::kDirect:
      return DirectCost(layer_.shape, n);
    case Route::kChunkwise:
      return ChunkwiseCost(layer_.shape, layer_.weights, n, bytes);
    case Route::kFft:
      return GuardedCost(n);
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
    case Route::kFft:
      return BeginGuarded(context);
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
                                .normalised = config.attention.qk_norm,
                                .causal = config.attention.causal,
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
