#include "model/attention/routes/fused_tiles.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "model/attention/phased_pass.h"
#include "model/attention/routes/fused_rows.h"

namespace longwave {
namespace {

constexpr int64_t kB = cpu::kRowBlock;
constexpr int64_t kGroup = cpu::kKeyGroup;

// Keys whose features one piece forms.
constexpr int64_t kFormedKeys = 16 * kB;
// Keys that all rows of a piece meet before the next ones: phi(k) and v of 240 are 120 KiB at
// m = d = 64, in the second-level cache beside the piece's queries and sums.
constexpr int64_t kSpanGroups = 15;
// Rows of a piece: fewer for long sequences, so that a slice stays short.
constexpr int64_t kMostRows = 8 * kB;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Layout {
  int64_t n = 0;
  int64_t groups = 0;  // of keys
  int64_t rows = kB;   // of a piece
  double form_flops = 0;
  double weight_flops = 0;
  double piece_flops = 0;  // of an average piece

  int64_t forms() const { return CeilDiv(n, kFormedKeys); }
  int64_t pieces() const { return CeilDiv(n, rows); }
};

Layout MakeLayout(const FusedLayer& layer, bool causal, int64_t n) {
  Layout layout = {.n = n, .groups = cpu::KeyGroups(n)};
  const double m = static_cast<double>(layer.shape().features);
  const double d = static_cast<double>(layer.shape().head_dim);
  const double keys = static_cast<double>(n) * (causal ? 0.5 : 1);
  const double row_flops = 2 * m * d + 2 * keys * (m + d + 1);
  const int64_t blocks = static_cast<int64_t>(kPieceFlops / (row_flops * kB));
  layout.rows = std::min(std::clamp<int64_t>(blocks * kB, kB, kMostRows), cpu::RoundUp(n, kB));
  layout.form_flops = 2 * m * d * static_cast<double>(std::min(n, kFormedKeys));
  // An exponential in double is worth about a thousand operations of a product.
  layout.weight_flops = n > layer.cached_tokens() ? 2000.0 * static_cast<double>(n) : 0;
  layout.piece_flops = row_flops * static_cast<double>(std::min(layout.rows, n));
  return layout;
}

class FusedTilesPass final : public PhasedPass {
 public:
  FusedTilesPass(RouteContext context, std::shared_ptr<const FusedLayer> layer);
  absl::Status status() const override { return bad_rows_.status(); }
  int64_t ResidentBytes() const override;

 private:
  const cpu::Kernels& kernels() const { return layer_->kernels(); }
  const cpu::HeadShape& shape() const { return layer_->shape(); }
  float* Phi(int64_t head, int64_t key) {
    return phi_.data() + (head * layout_.groups * kGroup + key) * shape().features;
  }
  float* Values(int64_t head, int64_t key) {
    return values_.data() + (head * layout_.groups * kGroup + key) * layer_->value_columns();
  }
  // c(0) of a head; c(o) beside it as far as any tile reads.
  const float* Center(int64_t head) const;

  void FormKeys(int64_t head, int64_t piece);
  void FormWeights(int64_t head);
  void ComputeRows(int64_t head, int64_t piece);

  const RouteContext context_;
  const std::shared_ptr<const FusedLayer> layer_;
  const Layout layout_;
  cpu::AlignedFloats phi_;
  cpu::AlignedFloats values_;
  std::vector<std::vector<float>> weights_;  // of sequences longer than the layer keeps
  BadRows bad_rows_;
};

FusedTilesPass::FusedTilesPass(RouteContext context, std::shared_ptr<const FusedLayer> layer)
    : context_(std::move(context)),
      layer_(std::move(layer)),
      layout_(MakeLayout(*layer_, layer_->weights().causal(), context_.tokens())) {
  const int64_t heads = context_.head_count();
  phi_ = cpu::AlignedFloats(heads * layout_.groups * kGroup * shape().features);
  values_ = cpu::AlignedFloats(heads * layout_.groups * kGroup * layer_->value_columns());
  AddPhase(heads * layout_.forms(), layout_.form_flops,
           [this](int64_t piece) { FormKeys(piece / layout_.forms(), piece % layout_.forms()); });
  if (layout_.n > layer_->cached_tokens()) {
    weights_.resize(heads);
    AddPhase(heads, layout_.weight_flops, [this](int64_t head) { FormWeights(head); });
  }
  AddPhase(heads * layout_.pieces(), layout_.piece_flops, [this](int64_t piece) {
    ComputeRows(piece / layout_.pieces(), piece % layout_.pieces());
  });
}

int64_t FusedTilesPass::ResidentBytes() const {
  int64_t bytes = phi_.bytes() + values_.bytes();
  for (const std::vector<float>& weights : weights_) {
    bytes += static_cast<int64_t>(weights.capacity() * sizeof(float));
  }
  return bytes;
}

const float* FusedTilesPass::Center(int64_t head) const {
  if (weights_.empty()) return layer_->near(context_.heads[head]);
  return weights_[head].data() + layout_.n + kB - 1;
}

void FusedTilesPass::FormKeys(int64_t head, int64_t piece) {
  float* const scratch = cpu::ThreadScratch(cpu::FeatureScratchFloats(shape().head_dim));
  const int64_t first = piece * kFormedKeys;
  const int64_t count = std::min(kFormedKeys, layout_.n - first);
  const cpu::StridedRows k = HeadRows(context_.k, context_.heads[head], first);
  for (int64_t j = 0; j < count; j += kB) {
    kernels().key_features(layer_->features(context_.heads[head]),
                           {k.data + j * k.stride, k.stride}, std::min(kB, count - j), scratch,
                           Phi(head, first + j));
  }
  kernels().pack_values(HeadRows(context_.v, context_.heads[head], first), count, shape().head_dim,
                        Values(head, first));
}

void FusedTilesPass::FormWeights(int64_t head) {
  const int64_t edge = layout_.n + kB - 1;
  weights_[head] = WeightsInFloat(layer_->weights(), context_.heads[head], -edge, edge);
}

void FusedTilesPass::ComputeRows(int64_t head, int64_t piece) {
  const int64_t begin = piece * layout_.rows;
  const int64_t end = std::min(begin + layout_.rows, layout_.n);
  const int64_t query_columns = layer_->query_columns();
  const int64_t value_columns = layer_->value_columns();
  const int64_t padded = cpu::RoundUp(end - begin, kB);
  ScratchParts scratch(cpu::ThreadScratch(padded * (query_columns + value_columns + kGroup) +
                                          cpu::FeatureScratchFloats(shape().head_dim)));
  float* const queries = scratch.Take(padded * query_columns);
  float* const sums = scratch.Take(padded * value_columns);
  float* const weights = scratch.Take(padded * kGroup);
  const int64_t layer_head = context_.heads[head];
  for (int64_t row = begin; row < end; row += kB) {
    kernels().query_features(layer_->features(layer_head), HeadRows(context_.q, layer_head, row),
                             std::min(kB, end - row), scratch.Take(0),
                             queries + (row - begin) * query_columns);
  }
  std::fill_n(sums, padded * value_columns, 0.0f);
  std::fill_n(weights, padded * kGroup, 0.0f);
  const bool causal = layer_->weights().causal();
  for (int64_t group = 0; group < layout_.groups; group += kSpanGroups) {
    const int64_t key = group * kGroup;
    for (int64_t row = begin; row < end; row += kB) {
      // A causal block sees no key after its last row.
      const int64_t seen = causal ? std::min(layout_.groups, (row + kB) / kGroup) : layout_.groups;
      const int64_t groups = std::min(kSpanGroups, seen - group);
      if (groups <= 0) continue;
      kernels().accumulate_tile(shape(),
                                {.rows = std::min(kB, end - row),
                                 .groups = groups,
                                 .queries = queries + (row - begin) * query_columns,
                                 .keys = Phi(head, key),
                                 .values = Values(head, key),
                                 .weights = Center(head) + (key - row)},
                                sums + (row - begin) * value_columns,
                                weights + (row - begin) * kGroup);
    }
  }
  StoreDenominators(weights, layer_head, begin, end - begin, context_.denominators);
  bad_rows_.Add(kernels().divide(shape(), end - begin, sums, weights,
                                 HeadOutput(context_.out, layer_head, begin),
                                 context_.out.stride(0)));
}

}  // namespace

std::unique_ptr<AttentionPass> MakeFusedTilesPass(RouteContext context,
                                                  std::shared_ptr<const FusedLayer> layer) {
  return std::make_unique<FusedTilesPass>(std::move(context), std::move(layer));
}

AttentionCost FusedTilesCost(const FusedLayer& layer, int64_t heads, bool causal, int64_t n) {
  const Layout layout = MakeLayout(layer, causal, n);
  const double count = static_cast<double>(heads);
  const int64_t padded = layout.groups * kGroup;
  AttentionCost cost;
  cost.flops =
      count * (static_cast<double>(layout.forms()) * layout.form_flops + layout.weight_flops +
               static_cast<double>(layout.pieces()) * layout.piece_flops);
  cost.largest_piece_flops = std::max({layout.form_flops, layout.weight_flops, layout.piece_flops});
  cost.bytes = heads * padded * (layer.shape().features + layer.value_columns()) *
               static_cast<int64_t>(sizeof(float));
  if (n > layer.cached_tokens()) {
    cost.bytes += heads * (2 * (n + kB) - 1) * static_cast<int64_t>(sizeof(float));
  }
  return cost;
}

}  // namespace longwave
