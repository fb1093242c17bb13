#include "model/attention/attention.h"

#include <ATen/ATen.h>
#include <ATen/Version.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <numeric>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/attention/fused_layer.h"
#include "model/attention/layer_state.h"
#include "model/attention/phased_pass.h"
#include "model/attention/routes/batched_chunkwise.h"
#include "model/attention/routes/batched_tiles.h"
#include "model/attention/routes/buckets.h"
#include "model/attention/routes/chunkwise.h"
#include "model/attention/routes/direct.h"
#include "model/attention/routes/fft.h"
#include "model/attention/routes/fft_cuda.h"
#include "model/attention/routes/fft_pairs.h"
#include "model/attention/routes/fused_chunkwise.h"
#include "model/attention/routes/fused_tiles.h"
#include "model/attention/routes/interpolation.h"
#include "model/attention/routes/tiles.h"
#include "model/base/error.h"
#include "model/base/mutex.h"

namespace longwave {

std::vector<int64_t> AllHeads(const AttentionShape& shape) {
  std::vector<int64_t> heads(shape.heads);
  std::iota(heads.begin(), heads.end(), 0);
  return heads;
}

namespace {

std::vector<std::vector<double>> Projections(const FeatureMap& features, int64_t heads) {
  std::vector<std::vector<double>> projections;
  for (int64_t h = 0; h < heads; ++h) {
    projections.push_back(features.projection(static_cast<int>(h)));
  }
  return projections;
}

int64_t ElementBytes(at::ScalarType type) { return type == at::kDouble ? 8 : 4; }

InterpolationCertificates MakeCertificates(const LayerState& layer) {
  if (layer.config.interpolation_error <= 0) return {};
  return {layer.weights, layer.config.interpolation_error};
}

void Add(const AttentionCost& part, AttentionCost& total) {
  total.flops += part.flops;
  total.bytes += part.bytes;
  total.largest_piece_flops = std::max(total.largest_piece_flops, part.largest_piece_flops);
}

class LayerAttention final : public Attention {
 public:
  LayerAttention(const ModelConfig& config, const AttentionShape& shape, at::Device device,
                 RelativeBias bias, FeatureMap features, const cpu::Kernels& kernels)
      : layer_{.config = config.attention,
               .shape = shape,
               .device = device,
               .weights =
                   ToeplitzWeights(std::move(bias), config.attention.causal, config.max_tokens),
               .features = std::move(features)},
        tile_type_(TilePrecision(layer_.weights.Spread()) == Precision::kFp32 ? at::kFloat
                                                                              : at::kDouble),
        certificates_(MakeCertificates(layer_)) {
    if (device.is_cpu() && shape.positive()) {
      cpu_fft_ = std::make_unique<CpuFft>(&layer_, &kernels);
    }
    if (auto fft_device = MakeCudaFftDevice(device); fft_device != nullptr && shape.positive()) {
      fft_pairs_ = std::make_unique<FftPairs>(&layer_, std::move(fft_device));
      fft_pairs_->Prepare(config.max_tokens, [this](int64_t n) { return TransformedHeads(n); });
    }
    if (tile_type_ == at::kFloat && FusedLayer::Supports(shape)) {
      fused_ = std::make_shared<const FusedLayer>(shape, layer_.config.scale,
                                                  Projections(layer_.features, shape.heads),
                                                  layer_.weights, kernels);
    }
  }

  double spread() const { return layer_.weights.Spread(); }

  Route Plan(int64_t n) const override { return MainRoute(PlanHeads(Facts(), n)); }
  std::string PlanText(int64_t n) const override {
    return longwave::PlanText(PlanHeads(Facts(), n));
  }
  absl::Status Check(int64_t n, Route route) const override {
    return CheckRoute(Facts(), n, route);
  }
  AttentionCost Cost(int64_t n, Route route) const override;
  std::vector<RouteShare> Shares(int64_t n, Route route) const override;
  double ErrorBound(int64_t n, Route route) const override;
  AttentionCounters Counters() const override {
    return {.fft_fp32 = fft_fp32_.load(std::memory_order_relaxed),
            .fft_fp64 = fft_fp64_.load(std::memory_order_relaxed),
            .fft_tiles = fft_tiles_.load(std::memory_order_relaxed),
            .fft_rows_recomputed = (cpu_fft_ == nullptr ? 0 : cpu_fft_->rows_recomputed()) +
                                   (fft_pairs_ == nullptr ? 0 : fft_pairs_->rows_recomputed())};
  }
  std::string Kernels() const override {
    return fused_ == nullptr ? "libtorch" : fused_->kernels().name;
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
  LayerFacts Facts() const {
    return {.shape = layer_.shape,
            .weights = layer_.weights,
            .preferred = layer_.config.preferred_route,
            .certificates = certificates_.asked() ? &certificates_ : nullptr};
  }
  // Heads that AUTO computes by transforms.
  std::vector<int64_t> TransformedHeads(int64_t n) const;
  // What is made when some heads are first computed together, which depends on the length.
  template <typename Bands>
  using BandsOfHeads = std::map<std::vector<int64_t>, std::shared_ptr<const Bands>>;
  std::shared_ptr<const ChunkwiseWeights> BandsOf(const std::vector<int64_t>& heads) const;
  std::shared_ptr<const FusedBands> FusedBandsOf(const std::vector<int64_t>& heads) const;
  AttentionCost TilesGroupCost(int64_t heads, int64_t n) const;
  std::unique_ptr<AttentionPass> BeginTiles(RouteContext context) const;
  GuardedHeads Guard(const std::vector<int64_t>& heads, int64_t n) const;
  AttentionCost GroupCost(const HeadGroup& group, int64_t n) const;
  AttentionCost GuardedCost(const std::vector<int64_t>& heads, int64_t n) const;
  std::unique_ptr<AttentionPass> BeginGroup(RouteContext context, HeadMethod method) const;
  std::unique_ptr<AttentionPass> BeginGuarded(const RouteContext& context) const;

  const LayerState layer_;
  const at::ScalarType tile_type_;
  const InterpolationCertificates certificates_;
  // On the CPU's own kernels; null: the routes composed of LibTorch's operators serve this layer.
  std::shared_ptr<const FusedLayer> fused_;
  mutable Mutex mutex_;
  mutable BandsOfHeads<ChunkwiseWeights> bands_ ABSL_GUARDED_BY(mutex_);
  mutable BandsOfHeads<FusedBands> fused_bands_ ABSL_GUARDED_BY(mutex_);
  // One of them, for positive features.
  std::unique_ptr<CpuFft> cpu_fft_;
  std::unique_ptr<FftPairs> fft_pairs_;  // CUDA only
  mutable std::atomic<int64_t> fft_fp32_{0};
  mutable std::atomic<int64_t> fft_fp64_{0};
  mutable std::atomic<int64_t> fft_tiles_{0};
};

std::vector<int64_t> LayerAttention::TransformedHeads(int64_t n) const {
  for (const HeadGroup& group : PlanHeads(Facts(), n)) {
    if (group.method == HeadMethod::kFft) return group.heads;
  }
  return {};
}

std::shared_ptr<const ChunkwiseWeights> LayerAttention::BandsOf(
    const std::vector<int64_t>& heads) const {
  MutexLock lock(&mutex_);
  std::shared_ptr<const ChunkwiseWeights>& bands = bands_[heads];
  if (bands == nullptr) {
    bands = std::make_shared<const ChunkwiseWeights>(MakeChunkwiseWeights(
        layer_.weights, heads, at::TensorOptions(layer_.device).dtype(tile_type_)));
  }
  return bands;
}

std::shared_ptr<const FusedBands> LayerAttention::FusedBandsOf(
    const std::vector<int64_t>& heads) const {
  MutexLock lock(&mutex_);
  std::shared_ptr<const FusedBands>& bands = fused_bands_[heads];
  if (bands == nullptr) {
    bands = std::make_shared<const FusedBands>(MakeFusedBands(layer_.weights, heads));
  }
  return bands;
}

AttentionCost LayerAttention::TilesGroupCost(int64_t heads, int64_t n) const {
  if (fused_ != nullptr) return FusedTilesCost(*fused_, heads, layer_.shape.causal, n);
  const auto cost = layer_.device.is_cuda() ? BatchedTilesCost : TilesCost;
  return cost(layer_.shape, heads, n, ElementBytes(tile_type_));
}

std::unique_ptr<AttentionPass> LayerAttention::BeginTiles(RouteContext context) const {
  if (fused_ != nullptr) return MakeFusedTilesPass(std::move(context), fused_);
  if (layer_.device.is_cuda()) return MakeBatchedTilesPass(std::move(context));
  return MakeTilesPass(std::move(context));
}

LayerAttention::GuardedHeads LayerAttention::Guard(const std::vector<int64_t>& heads,
                                                   int64_t n) const {
  GuardedHeads guarded;
  for (const int64_t head : heads) {
    const int h = static_cast<int>(head);
    switch (FftPrecision(layer_.weights.RowSumRatio(h, n), layer_.shape.normalised)) {
      case Precision::kFp32:
        guarded.fp32.push_back(h);
        break;
      case Precision::kFp64:
        guarded.fp64.push_back(h);
        break;
      case Precision::kTiles:
        guarded.tiles.push_back(h);
        break;
    }
  }
  return guarded;
}

AttentionCost LayerAttention::GuardedCost(const std::vector<int64_t>& members, int64_t n) const {
  const GuardedHeads heads = Guard(members, n);
  AttentionCost total;
  const auto add = [&](const std::vector<int64_t>& part, auto cost_of) {
    if (!part.empty()) Add(cost_of(static_cast<int64_t>(part.size())), total);
  };
  const auto fft_cost = fft_pairs_ == nullptr ? FftCost : FftPairsCost;
  add(heads.fp32, [&](int64_t count) { return fft_cost(layer_.shape, count, n, at::kFloat); });
  add(heads.fp64, [&](int64_t count) { return fft_cost(layer_.shape, count, n, at::kDouble); });
  add(heads.tiles, [&](int64_t count) { return TilesGroupCost(count, n); });
  return total;
}

std::unique_ptr<AttentionPass> LayerAttention::BeginGuarded(const RouteContext& context) const {
  const GuardedHeads heads = Guard(context.heads, context.tokens());
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
  const auto fft_pass = [this](RouteContext part) {
    return fft_pairs_ == nullptr ? cpu_fft_->Begin(std::move(part))
                                 : fft_pairs_->Begin(std::move(part));
  };
  add(heads.fp32, at::kFloat, fft_pass, fft_fp32_);
  add(heads.fp64, at::kDouble, fft_pass, fft_fp64_);
  const auto begin_tiles = [&](RouteContext part) { return BeginTiles(std::move(part)); };
  add(heads.tiles, tile_type_, begin_tiles, fft_tiles_);
  if (parts.size() == 1) return std::move(parts.front());
  return std::make_unique<SequentialPass>(std::move(parts));
}

AttentionCost LayerAttention::GroupCost(const HeadGroup& group, int64_t n) const {
  const int64_t count = static_cast<int64_t>(group.heads.size());
  switch (group.method) {
    case HeadMethod::kDirect:
      return DirectCost(layer_.shape, n);
    case HeadMethod::kTiles:
      return TilesGroupCost(count, n);
    case HeadMethod::kBand: {
      if (fused_ != nullptr) return FusedChunkwiseCost(*fused_, *FusedBandsOf(group.heads), n);
      const auto cost = layer_.device.is_cuda() ? BatchedChunkwiseCost : ChunkwiseCost;
      return cost(layer_.shape, *BandsOf(group.heads), n, ElementBytes(tile_type_));
    }
    case HeadMethod::kBuckets:
      return BucketsCost(layer_, *fused_, group.heads, n);
    case HeadMethod::kFft:
      return GuardedCost(group.heads, n);
    case HeadMethod::kInterpolation:
      return InterpolationCost(layer_, *fused_, certificates_, group.heads, n);
  }
  return {};
}

std::vector<RouteShare> LayerAttention::Shares(int64_t n, Route route) const {
  std::vector<RouteShare> shares;
  for (const HeadGroup& group : PlanHeads(Facts(), n, route)) {
    const AttentionCost cost = GroupCost(group, n);
    const auto same = std::find_if(shares.begin(), shares.end(), [&](const RouteShare& share) {
      return share.route == group.route();
    });
    if (same == shares.end()) {
      shares.push_back({group.route(), cost});
    } else {
      Add(cost, same->cost);
    }
  }
  return shares;
}

double LayerAttention::ErrorBound(int64_t n, Route route) const {
  double bound = 0;
  for (const HeadGroup& group : PlanHeads(Facts(), n, route)) {
    if (group.method != HeadMethod::kInterpolation) continue;
    for (const int64_t head : group.heads) {
      const double error = certificates_.at(static_cast<int>(head), n).error;
      bound = std::max(bound, InterpolationCertificates::OutputBound(error));
    }
  }
  return bound;
}

AttentionCost LayerAttention::Cost(int64_t n, Route route) const {
  AttentionCost total;
  for (const RouteShare& share : Shares(n, route)) Add(share.cost, total);
  return total;
}

std::unique_ptr<AttentionPass> LayerAttention::BeginGroup(RouteContext context,
                                                          HeadMethod method) const {
  switch (method) {
    case HeadMethod::kDirect:
      return MakeDirectPass(std::move(context));
    case HeadMethod::kTiles:
      return BeginTiles(std::move(context));
    case HeadMethod::kBand: {
      if (fused_ != nullptr) {
        std::shared_ptr<const FusedBands> bands = FusedBandsOf(context.heads);
        return MakeFusedChunkwisePass(std::move(context), fused_, std::move(bands));
      }
      std::shared_ptr<const ChunkwiseWeights> weights = BandsOf(context.heads);
      if (layer_.device.is_cuda()) {
        return MakeBatchedChunkwisePass(std::move(context), std::move(weights));
      }
      return MakeChunkwisePass(std::move(context), std::move(weights));
    }
    case HeadMethod::kBuckets:
      return MakeBucketsPass(std::move(context), fused_);
    case HeadMethod::kFft:
      return BeginGuarded(context);
    case HeadMethod::kInterpolation:
      return MakeInterpolationPass(std::move(context), fused_, certificates_);
  }
  return nullptr;
}

std::unique_ptr<AttentionPass> LayerAttention::Begin(Route route, at::TensorBase q,
                                                     at::TensorBase k, at::TensorBase v,
                                                     at::TensorBase out) const {
  const RouteContext all = {.layer = &layer_,
                            .heads = {},
                            .precision = tile_type_,
                            .q = at::Tensor(std::move(q)),
                            .k = at::Tensor(std::move(k)),
                            .v = at::Tensor(std::move(v)),
                            .out = at::Tensor(std::move(out))};
  std::vector<std::unique_ptr<AttentionPass>> parts;
  for (HeadGroup& group : PlanHeads(Facts(), all.tokens(), route)) {
    RouteContext part = all;
    part.heads = std::move(group.heads);
    parts.push_back(BeginGroup(std::move(part), group.method));
  }
  if (parts.size() == 1) return std::move(parts.front());
  return std::make_unique<SequentialPass>(std::move(parts));
}

// "auto" follows what LibTorch uses, which the process may have pinned to less than the machine
// has.
const cpu::Kernels* KernelsBeside(absl::string_view name) {
  if (name == "auto" && at::get_cpu_capability() == "AVX2") return cpu::FindKernels("avx2");
  return cpu::FindKernels(name);
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Attention>> CreateAttention(const ModelConfig& config,
                                                                 const WeightMap& weights,
                                                                 int layer,
                                                                 const std::string& device,
                                                                 absl::string_view cpu_kernels) {
  const cpu::Kernels* const kernels = KernelsBeside(cpu_kernels);
  if (kernels == nullptr) {
    return MakeError({.reason = ErrorReason::kInvalidField,
                      .field = "cpu_kernels",
                      .value = std::string(cpu_kernels)},
                     "this machine has no such instruction set");
  }
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
                                                    *std::move(features), *kernels);
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
