#include "model/attention/routes/tiles.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "model/attention/degenerate_rows.h"
#include "model/attention/key_maximum.h"
#include "model/attention/phased_pass.h"
#include "model/attention/routes/tile.h"
#include "model/attention/rows.h"

namespace longwave {
namespace {

constexpr int64_t kB = kBlockTokens;
// Keys of one phase: a block of queries against them is a few milliseconds at any length.
constexpr int64_t kSpanTokens = 4096;
// Rows whose features one piece computes.
constexpr int64_t kFeatureRows = 1024;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Layout {
  int64_t blocks = 0;
  int64_t spans = 0;
  int64_t padded = 0;  // tokens, padded as blocks are
  int64_t heads_per_piece = 1;
  int64_t head_groups = 1;
  double head_flops = 0;     // one block against one span, one head
  double feature_flops = 0;  // one piece of the feature phase
  double weight_flops = 0;   // c of one head
};

Layout MakeLayout(const AttentionShape& shape, int64_t heads, int64_t n) {
  Layout layout;
  layout.blocks = CeilDiv(n, kB);
  layout.spans = CeilDiv(n, kSpanTokens);
  layout.padded = PaddedRange(0, n).padded;
  const double m = static_cast<double>(shape.features);
  const double d = static_cast<double>(shape.head_dim);
  const double keys = static_cast<double>(std::min(kSpanTokens, layout.padded));
  // Signed maps form the scores twice.
  const double products = shape.kind == FeatureKind::kTrf ? 2 * m + d : m + d;
  layout.head_flops = kComposedTilesWeight * 2.0 * kB * (keys * products + m * d);
  layout.heads_per_piece =
      std::clamp<int64_t>(static_cast<int64_t>(kPieceFlops / layout.head_flops), 1, heads);
  layout.head_groups = CeilDiv(heads, layout.heads_per_piece);
  layout.feature_flops =
      2.0 * static_cast<double>(std::min(kFeatureRows, layout.padded) * heads) * m * d;
  // An exponential in double is worth about a thousand operations of a matrix product.
  layout.weight_flops = 2000.0 * static_cast<double>(layout.padded);
  return layout;
}

// One past the last key that a block of queries sees of a span.
int64_t EndKey(const Layout& layout, bool causal, int64_t block, int64_t span) {
  const int64_t end = std::min((span + 1) * kSpanTokens, layout.padded);
  return causal ? std::min(end, (block + 1) * kB) : end;
}

// Operations of an average piece of a span: the last span is short, and causal blocks see only part
// of it or nothing.
double SpanFlops(const Layout& layout, bool causal, int64_t span) {
  double keys = 0;
  for (int64_t block = 0; block < layout.blocks; ++block) {
    const int64_t seen = EndKey(layout, causal, block, span) - span * kSpanTokens;
    keys += static_cast<double>(std::max<int64_t>(0, seen));
  }
  const double whole = static_cast<double>(layout.blocks * std::min(kSpanTokens, layout.padded));
  return layout.head_flops * static_cast<double>(layout.heads_per_piece) * keys / whole;
}

class TilesPass final : public PhasedPass {
 public:
  explicit TilesPass(RouteContext context);
  absl::Status status() const override { return degenerate_.status(); }
  int64_t ResidentBytes() const override;

 private:
  void ComputeKeys(int64_t piece);
  void ComputeWeights(int64_t head);
  void ComputeSpan(int64_t span, int64_t piece);
  void Accumulate(int64_t head, int64_t block, RowRange query_range, int64_t first_key,
                  int64_t end_key, const at::Tensor& queries, const TileScratch& scratch);
  void Finish(int64_t first_head, const std::vector<int64_t>& heads, RowRange query_range);

  bool softmax() const { return context_.layer->config.features == FeatureKind::kSoftmax; }
  bool has_signs() const { return context_.layer->config.features == FeatureKind::kTrf; }

  const RouteContext context_;
  const BoundFeatures features_;
  const Layout layout_;
  KeyMaximum key_maximum_;
  at::Tensor keys_;        // [heads, padded, features]
  at::Tensor values_;      // [heads, padded, head_dim + 1]
  at::Tensor weights_;     // [heads, 2 padded - 1]: c(o) (softmax: its logarithm) from the least o
  at::Tensor sums_;        // [heads, padded, head_dim + 1], each block's rows in reversed order
  at::Tensor maxima_;      // [heads, padded, 1], softmax only
  at::Tensor magnitudes_;  // [heads, padded], signed only
  DegenerateRows degenerate_;
};

TilesPass::TilesPass(RouteContext context)
    : context_(std::move(context)),
      features_(context_.layer->features.Bind(context_.heads, context_.precision)),
      layout_(MakeLayout(context_.layer->shape, context_.head_count(), context_.tokens())),
      key_maximum_(features_, context_) {
  const int64_t heads = context_.head_count();
  const int64_t d = context_.v.size(2);
  const at::TensorOptions options = context_.q.options().dtype(context_.precision);
  keys_ = at::empty({heads, layout_.padded, features_.features()}, options);
  values_ = at::empty({heads, layout_.padded, d + 1}, options);
  weights_ = at::empty({heads, 2 * layout_.padded - 1}, options);
  sums_ = at::zeros({heads, layout_.padded, d + 1}, options);
  if (softmax()) {
    maxima_ =
        at::full({heads, layout_.padded, 1}, -std::numeric_limits<double>::infinity(), options);
  }
  if (has_signs()) magnitudes_ = at::zeros({heads, layout_.padded}, options);

  const int64_t maxima = KeyMaximum::Pieces(features_, context_.tokens());
  AddPhase(maxima, layout_.feature_flops * KeyMaximum::kRows / kFeatureRows,
           [this](int64_t piece) { key_maximum_.Run(piece); });
  AddPhase(maxima > 0 ? 1 : 0, 0, [this](int64_t) { key_maximum_.Finish(); });
  AddPhase(CeilDiv(layout_.padded, kFeatureRows), layout_.feature_flops,
           [this](int64_t piece) { ComputeKeys(piece); });
  AddPhase(heads, layout_.weight_flops, [this](int64_t head) { ComputeWeights(head); });
  for (int64_t span = 0; span < layout_.spans; ++span) {
    AddPhase(layout_.blocks * layout_.head_groups,
             SpanFlops(layout_, context_.layer->config.causal, span),
             [this, span](int64_t piece) { ComputeSpan(span, piece); });
  }
}

int64_t TilesPass::ResidentBytes() const {
  size_t bytes = keys_.nbytes() + values_.nbytes() + weights_.nbytes() + sums_.nbytes();
  if (maxima_.defined()) bytes += maxima_.nbytes();
  if (magnitudes_.defined()) bytes += magnitudes_.nbytes();
  return static_cast<int64_t>(bytes);
}

void TilesPass::ComputeKeys(int64_t piece) {
  const int64_t begin = piece * kFeatureRows;
  const RowRange range = PaddedRange(begin, std::min(begin + kFeatureRows, context_.tokens()));
  at::Tensor keys = features_.Keys(
      GatherRows(context_.k, context_.heads, range, context_.precision), key_maximum_.Value());
  ZeroPadding(keys, range);
  keys_.narrow(1, begin, range.padded).copy_(keys);
  values_.narrow(1, begin, range.padded)
      .copy_(GatherValues(context_.v, context_.heads, range, context_.precision));
}

void TilesPass::ComputeWeights(int64_t head) {
  const ToeplitzWeights& weights = context_.layer->weights;
  const int64_t last = layout_.padded - 1;
  const int layer_head = static_cast<int>(context_.heads[head]);
  const std::vector<double> values = softmax() ? weights.LogRange(layer_head, -last, last)
                                               : weights.Range(layer_head, -last, last);
  weights_.select(0, head).copy_(at::tensor(values, at::kDouble));
}

void TilesPass::ComputeSpan(int64_t span, int64_t piece) {
  const int64_t block = piece / layout_.head_groups;
  const int64_t first_head = piece % layout_.head_groups * layout_.heads_per_piece;
  const int64_t end_head = std::min(first_head + layout_.heads_per_piece, context_.head_count());
  const std::vector<int64_t> heads(context_.heads.begin() + first_head,
                                   context_.heads.begin() + end_head);
  const RowRange query_range =
      PaddedRange(block * kB, std::min((block + 1) * kB, context_.tokens()));
  const int64_t first_key = span * kSpanTokens;
  const int64_t end_key = EndKey(layout_, context_.layer->config.causal, block, span);
  if (first_key < end_key) {
    const at::Tensor rows = GatherReversed(context_.q, heads, query_range, context_.precision);
    const BoundFeatures features = layout_.head_groups == 1
                                       ? features_
                                       : context_.layer->features.Bind(heads, context_.precision);
    const at::Tensor queries = features.Queries(rows);
    const TileScratch scratch(kB, queries.options());
    for (int64_t h = first_head; h < end_head; ++h) {
      Accumulate(h, block, query_range, first_key, end_key, queries.select(0, h - first_head),
                 scratch);
    }
  }
  if (span + 1 == layout_.spans) Finish(first_head, heads, query_range);
}

void TilesPass::Accumulate(int64_t head, int64_t block, RowRange query_range, int64_t first_key,
                           int64_t end_key, const at::Tensor& queries, const TileScratch& scratch) {
  const int64_t rows = query_range.padded;
  const int64_t keys = end_key - first_key;
  const int64_t zero_offset = layout_.padded - 1;  // index of c(0)
  const TileOperands tile = {
      .queries = queries,
      .keys = keys_.select(0, head).narrow(0, first_key, keys),
      .values = values_.select(0, head).narrow(0, first_key, keys),
      .weights = weights_.select(0, head).narrow(
          0, zero_offset + first_key - block * kB - (rows - 1), rows + keys - 1)};
  const auto block_rows = [&](const at::Tensor& state) {
    return state.select(0, head).narrow(0, block * kB, rows);
  };
  if (softmax()) {
    AccumulateSoftmaxTile(tile, context_.tokens() - first_key, scratch, block_rows(maxima_),
                          block_rows(sums_));
    return;
  }
  AccumulateTile(tile, scratch, block_rows(sums_));
  if (has_signs()) AccumulateMagnitudes(tile, scratch, block_rows(magnitudes_));
}

void TilesPass::Finish(int64_t first_head, const std::vector<int64_t>& heads,
                       RowRange query_range) {
  const int64_t count = static_cast<int64_t>(heads.size());
  const auto block_rows = [&](const at::Tensor& state) {
    return state.narrow(0, first_head, count).narrow(1, query_range.begin, query_range.padded);
  };
  const at::Tensor sums = block_rows(sums_);
  ScatterReversed(Quotient(sums), heads, query_range, context_.out);
  if (!has_signs()) return;
  const int64_t padding = query_range.padded - query_range.count;
  const at::Tensor present = sums.narrow(1, padding, query_range.count).select(2, sums.size(2) - 1);
  const at::Tensor limits =
      block_rows(magnitudes_).narrow(1, padding, query_range.count) * DegenerateRows::kThreshold;
  degenerate_.Add(at::sum(present.abs() < limits).item<int64_t>());
}

}  // namespace

std::unique_ptr<AttentionPass> MakeTilesPass(RouteContext context) {
  return std::make_unique<TilesPass>(std::move(context));
}

AttentionCost TilesCost(const AttentionShape& shape, int64_t heads, int64_t n,
                        int64_t element_bytes) {
  const Layout layout = MakeLayout(shape, heads, n);
  AttentionCost cost;
  const auto add = [&](double pieces, double flops) {
    cost.flops += pieces * flops;
    cost.largest_piece_flops = std::max(cost.largest_piece_flops, flops);
  };
  add(static_cast<double>(CeilDiv(layout.padded, kFeatureRows)), layout.feature_flops);
  add(static_cast<double>(heads), layout.weight_flops);
  for (int64_t span = 0; span < layout.spans; ++span) {
    add(static_cast<double>(layout.blocks * layout.head_groups),
        SpanFlops(layout, shape.causal, span));
  }
  int64_t numbers = layout.padded * (shape.features + 2 * (shape.head_dim + 1) + 2) - 1;
  if (!shape.positive()) numbers += layout.padded;  // maxima or magnitudes
  cost.bytes = element_bytes * heads * numbers;
  return cost;
}

}  // namespace longwave
