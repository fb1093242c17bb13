#include "model/attention/routes/chunkwise.h"

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

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How a sequence is cut: a function of shape, weights and length.
struct Layout {
  int64_t heads = 0;
  int64_t blocks = 0;
  int64_t band_before = 0;  // band blocks on each side
  int64_t band_after = 0;
  bool states_before = false;  // whether any block has keys beyond the band on that side
  bool states_after = false;
  int64_t blocks_per_piece = 1;
  int64_t columns = 0;           // of one state: features * (head_dim + 1)
  int64_t columns_per_scan = 0;  // of one piece of the scans
  double block_flops = 0;        // all heads, outputs of one block

  int64_t pieces() const { return CeilDiv(blocks, blocks_per_piece); }
  int64_t scan_pieces() const { return heads * CeilDiv(columns, columns_per_scan); }
  int64_t sides() const { return (states_before ? 1 : 0) + (states_after ? 1 : 0); }
};

Layout MakeLayout(const AttentionShape& shape, const ChunkwiseWeights& weights, int64_t n) {
  Layout layout;
  layout.heads = static_cast<int64_t>(weights.before.scale.size());
  layout.blocks = CeilDiv(n, kB);
  layout.band_before = weights.band_blocks;
  layout.band_after = shape.causal ? 0 : layout.band_before;
  const bool far = layout.blocks > layout.band_before + 1;
  layout.states_before = far && weights.before.present;
  layout.states_after = far && weights.after.present;

  const double m = static_cast<double>(shape.features);
  const double d1 = static_cast<double>(shape.head_dim + 1);
  const double window =
      static_cast<double>(std::min(layout.band_before + layout.band_after + 1, layout.blocks) * kB);
  const double tiles = 2.0 * kB * window * (m + d1);
  const double features = 2 * 2.0 * kB * m * static_cast<double>(shape.head_dim);
  layout.block_flops = static_cast<double>(layout.heads) *
                       (tiles + features + static_cast<double>(layout.sides()) * 2.0 * kB * m * d1);
  layout.blocks_per_piece =
      std::clamp<int64_t>(static_cast<int64_t>(kPieceFlops / layout.block_flops), 1,
                          std::min<int64_t>(64, layout.blocks));

  layout.columns = shape.features * (shape.head_dim + 1);
  // A piece of a scan reads and writes about 16 MiB of states.
  const int64_t fitting = (int64_t{4} << 20) / layout.blocks / 64 * 64;
  layout.columns_per_scan = std::clamp<int64_t>(fitting, 64, std::max<int64_t>(layout.columns, 64));
  return layout;
}

double StateFlops(const AttentionShape& shape, const Layout& layout) {
  const double m = static_cast<double>(shape.features);
  const double d = static_cast<double>(shape.head_dim);
  return kComposedChunkwiseWeight * static_cast<double>(layout.blocks_per_piece * layout.heads) *
         2.0 * kB * m * (2 * d + 1);
}

double ScanFlops(const Layout& layout, int64_t element_bytes) {
  return kFlopsPerByte * 2 *
         static_cast<double>(element_bytes * layout.sides() * layout.blocks *
                             layout.columns_per_scan);
}

class ChunkwisePass final : public PhasedPass {
 public:
  ChunkwisePass(RouteContext context, std::shared_ptr<const ChunkwiseWeights> weights);
  int64_t ResidentBytes() const override;

 private:
  // The queries of one piece of outputs and the keys that their bands reach, all heads.
  struct Window {
    RowRange query_range;
    RowRange key_range;
    at::Tensor queries;  // phi, in reversed token order
    at::Tensor keys;     // phi
    at::Tensor values;   // [v | 1]
  };

  at::Tensor Keys(RowRange range) const;
  void ComputeStates(int64_t piece);
  void ScanStates(int64_t piece);
  void ComputeOutputs(int64_t piece);
  TileOperands BandTile(const Window& window, int64_t head, int64_t block, int64_t row,
                        int64_t rows) const;
  void AddFar(int64_t head, int64_t block, const at::Tensor& queries, at::Tensor sums) const;
  void AddSide(const ChunkwiseSide& side, int64_t head, const at::Tensor& state,
               const at::Tensor& queries, at::Tensor sums) const;

  // Both sides' block states are the same numbers, so they are formed once.
  bool constant() const { return weights_->before.constant && weights_->after.constant; }
  RowRange BlockRange(int64_t first, int64_t end) const {
    return PaddedRange(first * kB, std::min(end * kB, context_.tokens()));
  }

  const RouteContext context_;
  const std::shared_ptr<const ChunkwiseWeights> weights_;
  const BoundFeatures features_;
  const Layout layout_;
  KeyMaximum key_maximum_;
  // [heads, blocks, features, head_dim + 1]: sums over single blocks, after the scans over all
  // blocks up to (from) each one.
  at::Tensor before_;
  at::Tensor after_;
};

ChunkwisePass::ChunkwisePass(RouteContext context, std::shared_ptr<const ChunkwiseWeights> weights)
    : context_(std::move(context)),
      weights_(std::move(weights)),
      features_(context_.layer->features.Bind(context_.heads, context_.precision)),
      layout_(MakeLayout(context_.layer->shape, *weights_, context_.tokens())),
      key_maximum_(features_, context_) {
  const AttentionShape& shape = context_.layer->shape;
  const int64_t maxima = KeyMaximum::Pieces(features_, context_.tokens());
  AddPhase(maxima,
           2.0 * KeyMaximum::kRows * static_cast<double>(layout_.heads * shape.features) *
               static_cast<double>(shape.head_dim),
           [this](int64_t piece) { key_maximum_.Run(piece); });
  AddPhase(maxima > 0 ? 1 : 0, 0, [this](int64_t) { key_maximum_.Finish(); });

  const std::vector<int64_t> sizes = {layout_.heads, layout_.blocks, shape.features,
                                      shape.head_dim + 1};
  const at::TensorOptions options = context_.q.options().dtype(context_.precision);
  if (layout_.states_before) before_ = at::empty(sizes, options);
  if (layout_.states_after) after_ = at::empty(sizes, options);
  if (layout_.sides() > 0) {
    AddPhase(layout_.pieces(), StateFlops(shape, layout_),
             [this](int64_t piece) { ComputeStates(piece); });
    AddPhase(layout_.scan_pieces(), ScanFlops(layout_, options.dtype().itemsize()),
             [this](int64_t piece) { ScanStates(piece); });
  }
  AddPhase(layout_.pieces(), layout_.block_flops * static_cast<double>(layout_.blocks_per_piece),
           [this](int64_t piece) { ComputeOutputs(piece); });
}

int64_t ChunkwisePass::ResidentBytes() const {
  int64_t bytes = 0;
  if (before_.defined()) bytes += static_cast<int64_t>(before_.nbytes());
  if (after_.defined()) bytes += static_cast<int64_t>(after_.nbytes());
  return bytes;
}

at::Tensor ChunkwisePass::Keys(RowRange range) const {
  at::Tensor keys = features_.Keys(
      GatherRows(context_.k, context_.heads, range, context_.precision), key_maximum_.Value());
  ZeroPadding(keys, range);
  return keys;
}

// S_J = sum over the block's rows b of lambda^(...) phi(k_b) [v_b | 1]^T.
void ChunkwisePass::ComputeStates(int64_t piece) {
  const int64_t first = piece * layout_.blocks_per_piece;
  const int64_t count = std::min(layout_.blocks_per_piece, layout_.blocks - first);
  RowRange range = BlockRange(first, first + count);
  range.padded = count * kB;
  const int64_t m = features_.features();
  const at::Tensor keys = Keys(range).view({context_.head_count(), count, kB, m});
  const at::Tensor values = GatherValues(context_.v, context_.heads, range, context_.precision)
                                .view({context_.head_count(), count, kB, context_.v.size(2) + 1});
  const auto form = [&](const ChunkwiseSide& side, at::Tensor& states) {
    const at::Tensor weighted = side.constant ? keys : keys * side.key_rows.unsqueeze(1);
    for (int64_t h = 0; h < context_.head_count(); ++h) {
      at::Tensor place = states.select(0, h).narrow(0, first, count);
      at::bmm_out(place, weighted.select(0, h).transpose(1, 2), values.select(0, h));
    }
  };
  if (before_.defined()) form(weights_->before, before_);
  if (after_.defined() && !(constant() && before_.defined())) form(weights_->after, after_);
}

void ChunkwisePass::ScanStates(int64_t piece) {
  const int64_t pieces_per_head = CeilDiv(layout_.columns, layout_.columns_per_scan);
  const int64_t head = piece / pieces_per_head;
  const int64_t first = piece % pieces_per_head * layout_.columns_per_scan;
  const int64_t count = std::min(layout_.columns_per_scan, layout_.columns - first);
  const auto columns = [&](const at::Tensor& states) {
    return states.select(0, head).view({layout_.blocks, layout_.columns}).narrow(1, first, count);
  };
  // Shared block states are read from the one side before that side is overwritten.
  if (after_.defined()) {
    const bool shared = constant() && before_.defined();
    ScanBackward(columns(shared ? before_ : after_), weights_->after.block_decay[head],
                 columns(after_));
  }
  if (before_.defined()) {
    ScanForward(columns(before_), weights_->before.block_decay[head], columns(before_));
  }
}

void ChunkwisePass::ComputeOutputs(int64_t piece) {
  const int64_t first = piece * layout_.blocks_per_piece;
  const int64_t end = std::min(first + layout_.blocks_per_piece, layout_.blocks);
  Window window;
  window.query_range = BlockRange(first, end);
  window.key_range = BlockRange(std::max<int64_t>(0, first - layout_.band_before),
                                std::min(layout_.blocks, end + layout_.band_after));
  window.queries = features_.Queries(
      GatherReversed(context_.q, context_.heads, window.query_range, context_.precision));
  window.keys = Keys(window.key_range);
  window.values = GatherValues(context_.v, context_.heads, window.key_range, context_.precision);
  at::Tensor sums =
      at::zeros({context_.head_count(), window.query_range.padded, context_.v.size(2) + 1},
                window.queries.options());
  const TileScratch scratch(kB, window.queries.options());
  for (int64_t h = 0; h < context_.head_count(); ++h) {
    for (int64_t block = first; block < end; ++block) {
      const int64_t before = (block - first) * kB;  // rows of the blocks before it
      const int64_t rows = std::min(kB, window.query_range.padded - before);
      const int64_t row = window.query_range.padded - before - rows;  // reversed
      at::Tensor block_sums = sums.select(0, h).narrow(0, row, rows);
      const TileOperands tile = BandTile(window, h, block, row, rows);
      AccumulateTile(tile, scratch, block_sums);
      AddFar(h, block, tile.queries, block_sums);
    }
  }
  ScatterReversed(Quotient(sums), context_.heads, window.query_range, context_.out);
}

// One block of queries against all keys of its band.
TileOperands ChunkwisePass::BandTile(const Window& window, int64_t head, int64_t block, int64_t row,
                                     int64_t rows) const {
  const int64_t key = std::max<int64_t>(0, block - layout_.band_before) * kB;
  const int64_t key_end = std::min((block + layout_.band_after + 1) * kB,
                                   window.key_range.begin + window.key_range.padded);
  const int64_t count = key_end - key;
  const int64_t zero_offset = (layout_.band_before + 1) * kB - 1;  // index of c(0)
  const int64_t first_offset = key - block * kB - (rows - 1);      // of the first row and key
  return {.queries = window.queries.select(0, head).narrow(0, row, rows),
          .keys = window.keys.select(0, head).narrow(0, key - window.key_range.begin, count),
          .values = window.values.select(0, head).narrow(0, key - window.key_range.begin, count),
          .weights = weights_->band.select(0, head).narrow(0, zero_offset + first_offset,
                                                           rows + count - 1)};
}

// What lies beyond the band of one block.
void ChunkwisePass::AddFar(int64_t head, int64_t block, const at::Tensor& queries,
                           at::Tensor sums) const {
  at::Tensor before;
  at::Tensor after;
  if (before_.defined() && block > layout_.band_before) {
    before = before_.select(0, head).select(0, block - layout_.band_before - 1);
  }
  if (after_.defined() && block + layout_.band_before + 1 < layout_.blocks) {
    after = after_.select(0, head).select(0, block + layout_.band_before + 1);
  }
  if (before.defined() && after.defined() && constant()) {
    const at::Tensor both =
        at::mul(before, weights_->before.scale[head]).add_(after, weights_->after.scale[head]);
    sums.addmm_(queries, both);
    return;
  }
  if (before.defined()) AddSide(weights_->before, head, before, queries, sums);
  if (after.defined()) AddSide(weights_->after, head, after, queries, sums);
}

void ChunkwisePass::AddSide(const ChunkwiseSide& side, int64_t head, const at::Tensor& state,
                            const at::Tensor& queries, at::Tensor sums) const {
  if (side.constant) {
    sums.addmm_(queries, state, /*beta=*/1, /*alpha=*/side.scale[head]);
    return;
  }
  const int64_t rows = queries.size(0);
  const at::Tensor factors = side.query_rows.select(0, head).narrow(0, kB - rows, rows);
  sums.addcmul_(at::mm(queries, state), factors);
}

}  // namespace

std::unique_ptr<AttentionPass> MakeChunkwisePass(RouteContext context,
                                                 std::shared_ptr<const ChunkwiseWeights> weights) {
  return std::make_unique<ChunkwisePass>(std::move(context), std::move(weights));
}

AttentionCost ChunkwiseCost(const AttentionShape& shape, const ChunkwiseWeights& weights, int64_t n,
                            int64_t element_bytes) {
  const Layout layout = MakeLayout(shape, weights, n);
  AttentionCost cost;
  cost.flops = layout.block_flops * static_cast<double>(layout.blocks);
  cost.largest_piece_flops = layout.block_flops * static_cast<double>(layout.blocks_per_piece);
  if (layout.sides() > 0) {
    const double scan = ScanFlops(layout, element_bytes);
    cost.flops += StateFlops(shape, layout) * static_cast<double>(layout.pieces()) +
                  scan * static_cast<double>(layout.scan_pieces());
    cost.largest_piece_flops = std::max(cost.largest_piece_flops, scan);
    cost.bytes = element_bytes * layout.sides() * layout.blocks * layout.heads * layout.columns;
  }
  return cost;
}

}  // namespace longwave
