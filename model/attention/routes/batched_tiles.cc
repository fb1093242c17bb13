#include "model/attention/routes/batched_tiles.h"

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

// Keys of one product.
constexpr int64_t kSpanTokens = 4096;
// Rows of one piece that maps features.
constexpr int64_t kFeatureRows = 16384;
// Queries of one piece.
constexpr int64_t kLeastQueries = 128;
constexpr int64_t kMostQueries = 1024;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Layout {
  int64_t padded = 0;   // tokens
  int64_t queries = 0;  // of one piece
  int64_t pieces = 0;
  double feature_flops = 0;  // of one piece of features
  double weight_flops = 0;   // c of all heads
  double piece_flops = 0;    // of a piece against all keys it sees, on average
  int64_t bytes = 0;
};

Layout MakeLayout(const AttentionShape& shape, int64_t heads, int64_t n, int64_t element,
                  int64_t score_bytes) {
  Layout layout;
  layout.padded = PaddedRange(0, n).padded;
  const int64_t span = std::min(kSpanTokens, layout.padded);
  layout.queries =
      std::clamp(score_bytes / (heads * span * element) / 32 * 32, kLeastQueries, kMostQueries);
  layout.pieces = CeilDiv(n, layout.queries);
  const double m = static_cast<double>(shape.features);
  const double d = static_cast<double>(shape.head_dim);
  const double head_count = static_cast<double>(heads);
  layout.feature_flops =
      2.0 * static_cast<double>(std::min(kFeatureRows, layout.padded)) * head_count * m * d;
  layout.weight_flops = 2000.0 * static_cast<double>(layout.padded) * head_count;
  const double products = shape.kind == FeatureKind::kTrf ? 2 * m + d : m + d;
  layout.piece_flops = 2.0 * static_cast<double>(std::min(layout.queries, layout.padded)) *
                       static_cast<double>(layout.padded) * head_count * products *
                       (shape.causal ? 0.5 : 1.0);
  layout.bytes = element * heads *
                 (layout.padded * (shape.features + shape.head_dim + 3) + layout.queries * span);
  return layout;
}

class BatchedTilesPass final : public PhasedPass {
 public:
  BatchedTilesPass(RouteContext context, int64_t score_bytes);
  absl::Status status() const override { return degenerate_.status(); }
  int64_t ResidentBytes() const override { return layout_.bytes; }

 private:
  // Running sums of one block of queries, rows in reversed token order.
  struct Sums {
    at::Tensor sums;        // [heads, rows, head_dim + 1]
    at::Tensor maxima;      // [heads, rows, 1], softmax only
    at::Tensor magnitudes;  // [heads, rows], signed only
  };

  void ComputeKeys(int64_t piece);
  void ComputeWeights();
  void ComputeQueries(int64_t piece);
  void Accumulate(const at::Tensor& queries, RowRange range, int64_t first_key, int64_t end_key,
                  Sums& state) const;
  void AccumulateSoftmax(at::Tensor& scores, const at::Tensor& log_weights,
                         const at::Tensor& values, int64_t visible, Sums& state) const;
  void CountDegenerate(const Sums& state, RowRange range);

  bool softmax() const { return context_.layer->config.features == FeatureKind::kSoftmax; }
  bool has_signs() const { return context_.layer->config.features == FeatureKind::kTrf; }

  const RouteContext context_;
  const BoundFeatures features_;
  const Layout layout_;
  KeyMaximum key_maximum_;
  at::Tensor keys_;     // [heads, padded, features]
  at::Tensor values_;   // [heads, padded, head_dim + 1]
  at::Tensor weights_;  // [heads, 2 padded - 1]: c(o) (softmax: its logarithm) from the least o
  DegenerateRows degenerate_;
};

BatchedTilesPass::BatchedTilesPass(RouteContext context, int64_t score_bytes)
    : context_(std::move(context)),
      features_(context_.layer->features.Bind(context_.heads, context_.precision)),
      layout_(MakeLayout(context_.layer->shape, context_.head_count(), context_.tokens(),
                         context_.precision == at::kDouble ? 8 : 4, score_bytes)),
      key_maximum_(features_, context_) {
  const int64_t heads = context_.head_count();
  const at::TensorOptions options = context_.q.options().dtype(context_.precision);
  keys_ = at::empty({heads, layout_.padded, features_.features()}, options);
  values_ = at::empty({heads, layout_.padded, context_.v.size(2) + 1}, options);

  const int64_t maxima = KeyMaximum::Pieces(features_, context_.tokens());
  AddPhase(maxima, layout_.feature_flops, [this](int64_t piece) { key_maximum_.Run(piece); });
  AddPhase(maxima > 0 ? 1 : 0, 0, [this](int64_t) { key_maximum_.Finish(); });
  AddPhase(CeilDiv(layout_.padded, kFeatureRows), layout_.feature_flops,
           [this](int64_t piece) { ComputeKeys(piece); });
  AddPhase(1, layout_.weight_flops, [this](int64_t) { ComputeWeights(); });
  AddPhase(layout_.pieces, layout_.piece_flops, [this](int64_t piece) { ComputeQueries(piece); });
}

void BatchedTilesPass::ComputeKeys(int64_t piece) {
  const int64_t begin = piece * kFeatureRows;
  const RowRange range = PaddedRange(begin, std::min(begin + kFeatureRows, context_.tokens()));
  at::Tensor keys = features_.Keys(
      GatherRows(context_.k, context_.heads, range, context_.precision), key_maximum_.Value());
  ZeroPadding(keys, range);
  keys_.narrow(1, begin, range.padded).copy_(keys);
  values_.narrow(1, begin, range.padded)
      .copy_(GatherValues(context_.v, context_.heads, range, context_.precision));
}

void BatchedTilesPass::ComputeWeights() {
  const ToeplitzWeights& weights = context_.layer->weights;
  const int64_t last = layout_.padded - 1;
  std::vector<at::Tensor> rows;
  for (const int64_t head : context_.heads) {
    const int h = static_cast<int>(head);
    rows.push_back(at::tensor(
        softmax() ? weights.LogRange(h, -last, last) : weights.Range(h, -last, last), at::kDouble));
  }
  weights_ = at::stack(rows).to(keys_.options());
}

void BatchedTilesPass::ComputeQueries(int64_t piece) {
  const int64_t begin = piece * layout_.queries;
  const RowRange range = PaddedRange(begin, std::min(begin + layout_.queries, context_.tokens()));
  const at::Tensor queries =
      features_.Queries(GatherReversed(context_.q, context_.heads, range, context_.precision));
  const int64_t heads = context_.head_count();
  Sums state = {.sums = at::zeros({heads, range.padded, context_.v.size(2) + 1}, keys_.options())};
  if (softmax()) {
    state.maxima = at::full({heads, range.padded, 1}, -std::numeric_limits<double>::infinity(),
                            keys_.options());
  }
  if (has_signs()) state.magnitudes = at::zeros({heads, range.padded}, keys_.options());
  const int64_t end = context_.layer->config.causal ? range.begin + range.padded : layout_.padded;
  for (int64_t key = 0; key < end; key += kSpanTokens) {
    Accumulate(queries, range, key, std::min(key + kSpanTokens, end), state);
  }
  ScatterReversed(Quotient(state.sums), context_.heads, range, context_.out);
  if (has_signs()) CountDegenerate(state, range);
}

void BatchedTilesPass::Accumulate(const at::Tensor& queries, RowRange range, int64_t first_key,
                                  int64_t end_key, Sums& state) const {
  const int64_t rows = range.padded;
  const int64_t count = end_key - first_key;
  const at::Tensor keys = keys_.narrow(1, first_key, count);
  const at::Tensor values = values_.narrow(1, first_key, count);
  // Row r (token begin + rows - 1 - r) and key j have weights_[first + r + j].
  const int64_t first = layout_.padded - 1 + first_key - range.begin - (rows - 1);
  const at::Tensor weights =
      weights_.narrow(1, first, rows + count - 1)
          .as_strided({weights_.size(0), rows, count}, {weights_.stride(0), 1, 1});
  at::Tensor scores = at::bmm(queries, keys.transpose(1, 2));
  if (softmax()) {
    const int64_t visible = std::clamp<int64_t>(context_.tokens() - first_key, 0, count);
    return AccumulateSoftmax(scores, weights, values, visible, state);
  }
  state.sums.baddbmm_(scores.mul_(weights), values);
  if (!has_signs()) return;
  at::bmm_out(scores, queries.abs(), keys.abs().transpose(1, 2));
  state.magnitudes.add_(at::sum(scores.mul_(weights), {2}));
}

void BatchedTilesPass::AccumulateSoftmax(at::Tensor& scores, const at::Tensor& log_weights,
                                         const at::Tensor& values, int64_t visible,
                                         Sums& state) const {
  scores.add_(log_weights);
  scores.narrow(2, visible, scores.size(2) - visible)
      .fill_(-std::numeric_limits<double>::infinity());
  const at::Tensor highest = at::maximum(state.maxima, at::amax(scores, {2}, /*keepdim=*/true));
  state.sums.mul_(at::exp(state.maxima - highest));
  state.maxima = highest;
  state.sums.baddbmm_(scores.sub_(highest).exp_(), values);
}

void BatchedTilesPass::CountDegenerate(const Sums& state, RowRange range) {
  const int64_t padding = range.padded - range.count;
  const at::Tensor denominators =
      state.sums.narrow(1, padding, range.count).select(2, state.sums.size(2) - 1);
  const at::Tensor limits =
      state.magnitudes.narrow(1, padding, range.count) * DegenerateRows::kThreshold;
  degenerate_.Add(at::sum(denominators.abs() < limits).item<int64_t>());
}

}  // namespace

std::unique_ptr<AttentionPass> MakeBatchedTilesPass(RouteContext context, int64_t score_bytes) {
  return std::make_unique<BatchedTilesPass>(std::move(context), score_bytes);
}

AttentionCost BatchedTilesCost(const AttentionShape& shape, int64_t heads, int64_t n,
                               int64_t element_bytes) {
  const Layout layout = MakeLayout(shape, heads, n, element_bytes, kBatchedTileBytes);
  AttentionCost cost;
  cost.flops = layout.feature_flops * static_cast<double>(CeilDiv(layout.padded, kFeatureRows)) +
               layout.weight_flops + layout.piece_flops * static_cast<double>(layout.pieces);
  cost.largest_piece_flops =
      std::max({layout.feature_flops, layout.weight_flops, layout.piece_flops});
  cost.bytes = layout.bytes;
  return cost;
}

}  // namespace longwave
