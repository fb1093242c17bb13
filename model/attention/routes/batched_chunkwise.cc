#include "model/attention/routes/batched_chunkwise.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "model/attention/key_maximum.h"
#include "model/attention/phased_pass.h"
#include "model/attention/routes/block_scan.h"
#include "model/attention/routes/tile.h"
#include "model/attention/rows.h"

namespace longwave {
namespace {

constexpr int64_t kB = kBlockTokens;
// Numbers of states that one piece of a scan takes.
constexpr int64_t kScanNumbers = int64_t{8} << 20;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How a sequence is cut: a function of shape, weights and length.
struct Layout {
  int64_t heads = 0;
  int64_t blocks = 0;
  int64_t band_before = 0;  // band blocks on each side
  int64_t band_after = 0;
  bool states_before = false;  // whether any block has keys beyond the band on that side
  bool states_after = false;
  int64_t blocks_per_piece = 0;
  int64_t columns = 0;  // of one state: features * (head_dim + 1)
  int64_t columns_per_scan = 0;
  double state_flops = 0;  // of one piece
  double scan_flops = 0;
  double output_flops = 0;
  int64_t bytes = 0;

  int64_t window() const { return (band_before + 1 + band_after) * kB; }
  int64_t pieces() const { return CeilDiv(blocks, blocks_per_piece); }
  int64_t scan_pieces() const { return heads * CeilDiv(columns, columns_per_scan); }
  int64_t sides() const { return (states_before ? 1 : 0) + (states_after ? 1 : 0); }
};

Layout MakeLayout(const AttentionShape& shape, const ChunkwiseWeights& weights, int64_t n,
                  int64_t element, int64_t score_bytes) {
  Layout layout;
  layout.heads = static_cast<int64_t>(weights.before.scale.size());
  layout.blocks = CeilDiv(n, kB);
  layout.band_before = weights.band_blocks;
  layout.band_after = shape.causal ? 0 : layout.band_before;
  const bool far = layout.blocks > layout.band_before + 1;
  layout.states_before = far && weights.before.present;
  layout.states_after = far && weights.after.present;
  layout.blocks_per_piece =
      std::clamp<int64_t>(score_bytes / (kB * layout.window() * element), 1, layout.blocks);
  layout.columns = shape.features * (shape.head_dim + 1);
  layout.columns_per_scan =
      std::clamp<int64_t>(kScanNumbers / layout.blocks, 64, std::max<int64_t>(layout.columns, 64));

  const double m = static_cast<double>(shape.features);
  const double d = static_cast<double>(shape.head_dim);
  const double rows = static_cast<double>(layout.heads * layout.blocks_per_piece * kB);
  const double sides = static_cast<double>(layout.sides());
  layout.state_flops = rows * 2 * m * (2 * d + 1);
  layout.scan_flops =
      kFlopsPerByte * 2 *
      static_cast<double>(element * layout.sides() * layout.blocks * layout.columns_per_scan);
  layout.output_flops = rows * (2.0 * static_cast<double>(layout.window()) * (m + d + 1) +
                                4 * m * d + 2 * sides * m * (d + 1));
  const int64_t keys = layout.blocks_per_piece * kB + layout.window();
  layout.bytes = element * (layout.sides() * layout.blocks * layout.heads * layout.columns +
                            layout.blocks_per_piece * kB * layout.window() +
                            layout.heads * keys * (2 * shape.features + 2 * shape.head_dim + 2));
  return layout;
}

class BatchedChunkwisePass final : public PhasedPass {
 public:
  BatchedChunkwisePass(RouteContext context, std::shared_ptr<const ChunkwiseWeights> weights,
                       int64_t score_bytes);
  int64_t ResidentBytes() const override { return layout_.bytes; }

 private:
  // phi(k) and [v | 1] of whole blocks, [heads, blocks * B, ...], zero where no token is.
  struct Keys {
    at::Tensor phi;
    at::Tensor values;
  };
  Keys ComputeKeys(int64_t first_block, int64_t end_block) const;
  void ComputeStates(int64_t piece);
  void ScanStates(int64_t piece);
  void ComputeOutputs(int64_t piece);
  void AddFar(int64_t head, int64_t first, int64_t end, const at::Tensor& queries,
              at::Tensor sums) const;
  void AddSide(const ChunkwiseSide& side, int64_t head, const at::Tensor& states,
               const at::Tensor& queries, at::Tensor sums) const;

  // Both sides' block states are the same numbers, so they are formed once.
  bool shared_states() const {
    return weights_->before.constant && weights_->after.constant && before_.defined() &&
           after_.defined();
  }

  const RouteContext context_;
  const std::shared_ptr<const ChunkwiseWeights> weights_;
  const BoundFeatures features_;
  const Layout layout_;
  KeyMaximum key_maximum_;
  at::Tensor tile_weights_;  // [heads, B, window]: c of a block's rows and its window's keys
  // [heads, blocks, features, head_dim + 1]: sums over single blocks, after the scans over all
  // blocks up to (from) each one.
  at::Tensor before_;
  at::Tensor after_;
};

BatchedChunkwisePass::BatchedChunkwisePass(RouteContext context,
                                           std::shared_ptr<const ChunkwiseWeights> weights,
                                           int64_t score_bytes)
    : context_(std::move(context)),
      weights_(std::move(weights)),
      features_(context_.layer->features.Bind(context_.heads, context_.precision)),
      layout_(MakeLayout(context_.layer->shape, *weights_, context_.tokens(),
                         context_.precision == at::kDouble ? 8 : 4, score_bytes)),
      key_maximum_(features_, context_) {
  const AttentionShape& shape = context_.layer->shape;
  // Row a of a block and key j of its window have band[B - 1 - a + j].
  const at::Tensor& band = weights_->band;
  tile_weights_ = band.as_strided({layout_.heads, kB, layout_.window()}, {band.stride(0), 1, 1})
                      .flip(1)
                      .contiguous();
  const std::vector<int64_t> sizes = {layout_.heads, layout_.blocks, shape.features,
                                      shape.head_dim + 1};
  const at::TensorOptions options = context_.q.options().dtype(context_.precision);
  if (layout_.states_before) before_ = at::empty(sizes, options);
  if (layout_.states_after) after_ = at::empty(sizes, options);

  const int64_t maxima = KeyMaximum::Pieces(features_, context_.tokens());
  AddPhase(maxima,
           2.0 * KeyMaximum::kRows * static_cast<double>(layout_.heads * shape.features) *
               static_cast<double>(shape.head_dim),
           [this](int64_t piece) { key_maximum_.Run(piece); });
  AddPhase(maxima > 0 ? 1 : 0, 0, [this](int64_t) { key_maximum_.Finish(); });
  if (layout_.sides() > 0) {
    AddPhase(layout_.pieces(), layout_.state_flops,
             [this](int64_t piece) { ComputeStates(piece); });
    AddPhase(layout_.scan_pieces(), layout_.scan_flops,
             [this](int64_t piece) { ScanStates(piece); });
  }
  AddPhase(layout_.pieces(), layout_.output_flops,
           [this](int64_t piece) { ComputeOutputs(piece); });
}

// Blocks before the first and after the last are all padding.
BatchedChunkwisePass::Keys BatchedChunkwisePass::ComputeKeys(int64_t first_block,
                                                             int64_t end_block) const {
  const int64_t rows = (end_block - first_block) * kB;
  const int64_t begin = std::max<int64_t>(0, first_block) * kB;
  const int64_t count = std::min(end_block * kB, context_.tokens()) - begin;
  const RowRange range = {.begin = begin, .count = count, .padded = count};
  const at::TensorOptions options = context_.q.options().dtype(context_.precision);
  Keys keys = {.phi = at::zeros({layout_.heads, rows, features_.features()}, options),
               .values = at::zeros({layout_.heads, rows, context_.v.size(2) + 1}, options)};
  const int64_t place = begin - first_block * kB;
  keys.phi.narrow(1, place, count)
      .copy_(features_.Keys(GatherRows(context_.k, context_.heads, range, context_.precision),
                            key_maximum_.Value()));
  keys.values.narrow(1, place, count)
      .copy_(GatherValues(context_.v, context_.heads, range, context_.precision));
  return keys;
}

// S_J = sum over the block's rows b of lambda^(...) phi(k_b) [v_b | 1]^T.
void BatchedChunkwisePass::ComputeStates(int64_t piece) {
  const int64_t first = piece * layout_.blocks_per_piece;
  const int64_t count = std::min(layout_.blocks_per_piece, layout_.blocks - first);
  const Keys keys = ComputeKeys(first, first + count);
  const at::Tensor phi = keys.phi.view({layout_.heads, count, kB, features_.features()});
  const at::Tensor values = keys.values.view({layout_.heads, count, kB, context_.v.size(2) + 1});
  const auto form = [&](const ChunkwiseSide& side, const at::Tensor& states) {
    const at::Tensor weighted = side.constant ? phi : phi * side.key_rows.unsqueeze(1);
    for (int64_t h = 0; h < layout_.heads; ++h) {
      at::Tensor place = states.select(0, h).narrow(0, first, count);
      at::bmm_out(place, weighted.select(0, h).transpose(1, 2), values.select(0, h));
    }
  };
  if (before_.defined()) form(weights_->before, before_);
  if (after_.defined() && !shared_states()) form(weights_->after, after_);
}

void BatchedChunkwisePass::ScanStates(int64_t piece) {
  const int64_t pieces_per_head = CeilDiv(layout_.columns, layout_.columns_per_scan);
  const int64_t head = piece / pieces_per_head;
  const int64_t first = piece % pieces_per_head * layout_.columns_per_scan;
  const int64_t count = std::min(layout_.columns_per_scan, layout_.columns - first);
  const auto columns = [&](const at::Tensor& states) {
    return states.select(0, head).view({layout_.blocks, layout_.columns}).narrow(1, first, count);
  };
  // Shared block states are read from the one side before that side is overwritten.
  if (after_.defined()) {
    ScanBackward(columns(shared_states() ? before_ : after_), weights_->after.block_decay[head],
                 columns(after_));
  }
  if (before_.defined()) {
    ScanForward(columns(before_), weights_->before.block_decay[head], columns(before_));
  }
}

void BatchedChunkwisePass::ComputeOutputs(int64_t piece) {
  const int64_t first = piece * layout_.blocks_per_piece;
  const int64_t end = std::min(first + layout_.blocks_per_piece, layout_.blocks);
  const int64_t count = end - first;
  const int64_t m = features_.features();
  const int64_t columns = context_.v.size(2) + 1;
  const Keys keys = ComputeKeys(first - layout_.band_before, end + layout_.band_after);
  RowRange range = PaddedRange(first * kB, std::min(end * kB, context_.tokens()));
  range.padded = count * kB;
  const at::Tensor queries =
      features_.Queries(GatherRows(context_.q, context_.heads, range, context_.precision))
          .view({layout_.heads, count, kB, m});
  at::Tensor sums = at::empty({layout_.heads, count, kB, columns}, queries.options());
  for (int64_t h = 0; h < layout_.heads; ++h) {
    // Windows of neighbouring blocks overlap: they are views of the same rows.
    const auto windows = [&](const at::Tensor& rows) {
      const int64_t width = rows.size(2);
      return rows.select(0, h).as_strided({count, layout_.window(), width}, {kB * width, width, 1});
    };
    const at::Tensor head_queries = queries.select(0, h);
    at::Tensor head_sums = sums.select(0, h);
    at::Tensor scores = at::bmm(head_queries, windows(keys.phi).transpose(1, 2));
    scores.mul_(tile_weights_.select(0, h));
    at::bmm_out(head_sums, scores, windows(keys.values));
    AddFar(h, first, end, head_queries, head_sums);
  }
  const at::Tensor z = Quotient(sums.view({layout_.heads, count * kB, columns}));
  ScatterRows(z.narrow(1, 0, range.count), context_.heads, range, context_.out);
}

// What lies beyond the bands of blocks [first, end).
void BatchedChunkwisePass::AddFar(int64_t head, int64_t first, int64_t end,
                                  const at::Tensor& queries, at::Tensor sums) const {
  const auto add = [&](const ChunkwiseSide& side, const at::Tensor& states, int64_t begin_block,
                       int64_t end_block, int64_t state_offset) {
    if (begin_block >= end_block) return;
    const int64_t count = end_block - begin_block;
    AddSide(side, head, states.select(0, head).narrow(0, begin_block + state_offset, count),
            queries.narrow(0, begin_block - first, count),
            sums.narrow(0, begin_block - first, count));
  };
  const int64_t reach_before = layout_.band_before + 1;
  const int64_t reach_after = layout_.band_before + 1;
  if (before_.defined()) {
    add(weights_->before, before_, std::max(first, reach_before), end, -reach_before);
  }
  if (after_.defined()) {
    add(weights_->after, after_, first, std::min(end, layout_.blocks - reach_after), reach_after);
  }
}

void BatchedChunkwisePass::AddSide(const ChunkwiseSide& side, int64_t head,
                                   const at::Tensor& states, const at::Tensor& queries,
                                   at::Tensor sums) const {
  if (side.constant) {
    sums.baddbmm_(queries, states, /*beta=*/1, /*alpha=*/side.scale[head]);
    return;
  }
  sums.addcmul_(at::bmm(queries, states), side.query_rows.select(0, head).flip(0));
}

}  // namespace

std::unique_ptr<AttentionPass> MakeBatchedChunkwisePass(
    RouteContext context, std::shared_ptr<const ChunkwiseWeights> weights, int64_t score_bytes) {
  return std::make_unique<BatchedChunkwisePass>(std::move(context), std::move(weights),
                                                score_bytes);
}

AttentionCost BatchedChunkwiseCost(const AttentionShape& shape, const ChunkwiseWeights& weights,
                                   int64_t n, int64_t element_bytes) {
  const Layout layout = MakeLayout(shape, weights, n, element_bytes, kBatchedBandBytes);
  AttentionCost cost;
  cost.flops = layout.output_flops * static_cast<double>(layout.pieces());
  cost.largest_piece_flops = layout.output_flops;
  if (layout.sides() > 0) {
    cost.flops += layout.state_flops * static_cast<double>(layout.pieces()) +
                  layout.scan_flops * static_cast<double>(layout.scan_pieces());
    cost.largest_piece_flops = std::max(layout.output_flops, layout.scan_flops);
  }
  cost.bytes = layout.bytes;
  return cost;
}

}  // namespace longwave
