#include "model/attention/routes/fused_chunkwise.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "model/attention/phased_pass.h"
#include "model/attention/routes/fused_rows.h"

namespace longwave {
namespace {

constexpr int64_t kB = cpu::kRowBlock;
constexpr int64_t kGroup = cpu::kKeyGroup;

// One range up to here: features, values and states of 3072 tokens are 2.7 MiB at m = d = 64, what
// a core of a server has in second-level cache and its share of the third. A second range costs the
// sums of ranges, a sixth of the work, and has the price of every longer sequence.
constexpr int64_t kSingleRangeTokens = 64 * kB;
// Ranges of longer sequences: small enough for the second-level cache and its neighbour, long
// enough that the keys beyond their ends cost little. Beyond kMaxRanges they grow, so that what is
// kept of ranges stays small at any length.
constexpr int64_t kRangeTokens = 42 * kB;
constexpr int64_t kMaxRanges = 128;
// With few heads a sequence is cut into at least so many pieces, for as many threads.
constexpr int64_t kLeastPieces = 8;
constexpr int64_t kLeastRangeTokens = 16 * kB;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How a sequence is cut: a function of shapes, weights and length.
struct Layout {
  int64_t n = 0;
  int64_t reach = 0;
  int64_t range_tokens = 0;  // whole blocks; at least four times the reach if there are more
  int64_t ranges = 1;
  bool before = false;  // whether any block has keys beyond its band on that side
  bool after = false;
  // Operations of a token and head: in sums of ranges, in outputs.
  double sum_flops = 0;
  double output_flops = 0;

  int64_t begin(int64_t range) const { return range * range_tokens; }
  int64_t end(int64_t range) const { return std::min(n, (range + 1) * range_tokens); }
};

int64_t RangeTokens(int64_t heads, int64_t n, int64_t reach) {
  int64_t tokens = cpu::RoundUp(n, kB);
  if (n > kSingleRangeTokens) {
    // Of one length, so that no thread is left with a short one.
    const int64_t ranges = std::clamp<int64_t>(n / kRangeTokens, 2, kMaxRanges);
    tokens = cpu::RoundUp(CeilDiv(n, ranges), kB);
  }
  if (heads * CeilDiv(n, tokens) < kLeastPieces) {
    const int64_t even = cpu::RoundUp(CeilDiv(n, CeilDiv(kLeastPieces, heads)), kB);
    tokens = std::min(tokens, std::max(kLeastRangeTokens, even));
  }
  return std::max(tokens, cpu::RoundUp(4 * reach, kB));
}

Layout MakeLayout(const FusedLayer& layer, const FusedBands& bands, int64_t n) {
  const int64_t heads = static_cast<int64_t>(bands.heads.size());
  Layout layout = {.n = n, .reach = bands.reach};
  layout.range_tokens = RangeTokens(heads, n, bands.reach);
  layout.ranges = CeilDiv(n, layout.range_tokens);
  bool any_after = false;  // causal heads have no keys after the query at all
  const int64_t last_block = (CeilDiv(n, kB) - 1) * kB;
  for (const FusedBand& band : bands.heads) {
    layout.before = layout.before || (band.before.present && last_block > bands.reach);
    layout.after = layout.after || (band.after.present && kB + bands.reach < n);
    any_after = any_after || band.after.present;
  }
  const double m = static_cast<double>(layer.shape().features);
  const double d = static_cast<double>(layer.shape().head_dim);
  const double window = static_cast<double>(std::min(kB + (any_after ? 2 : 1) * bands.reach, n));
  const double states = (layout.before ? 1 : 0) + (layout.after ? 1 : 0);
  layout.sum_flops = 2 * m * (2 * d + 1) + 2 * m * (bands.heads.front().shared_sums() ? 0 : d + 1);
  layout.output_flops =
      4 * m * d + 2 * window * (m + d + 1) + 2 * m * (d + 1) * (states + (states > 0 ? 1 : 0));
  return layout;
}

// Parts of a range whose sums are formed: the keys up to `reach` from its begin, those up to
// `reach` from its end, and those between. The last range ends without a third part.
enum Part { kFirst = 0, kMiddle = 1, kLast = 2, kParts = 3 };
enum Side { kBefore = 0, kAfter = 1, kSides = 2 };

class FusedChunkwisePass final : public PhasedPass {
 public:
  FusedChunkwisePass(RouteContext context, std::shared_ptr<const FusedLayer> layer,
                     std::shared_ptr<const FusedBands> bands);
  absl::Status status() const override { return bad_rows_.status(); }
  int64_t ResidentBytes() const override { return sums_.bytes() + borders_.bytes(); }

 private:
  // phi(k) and v of the tokens [begin, end), padded to whole groups.
  struct Keys {
    int64_t begin = 0;
    int64_t end = 0;
    float* phi = nullptr;
    float* values = nullptr;
  };
  // One range of one head on its way.
  struct Walk {
    int64_t head = 0;  // in the context
    const FusedBand* band = nullptr;
    int64_t first_block = 0;
    int64_t end_block = 0;
    Keys keys;
    float* after = nullptr;     // a state for each block
    float* running = nullptr;   // state before the block at work
    float* combined = nullptr;  // both sides' states
    float* queries = nullptr;
    float* sums = nullptr;
    float* weights = nullptr;
    float* features = nullptr;  // scratch of the feature kernels
  };

  const cpu::Kernels& kernels() const { return layer_->kernels(); }
  const cpu::HeadShape& shape() const { return layer_->shape(); }
  int64_t state() const { return layer_->state_floats(); }
  const cpu::HeadFeatures& features(int64_t head) const {
    return layer_->features(context_.heads[head]);
  }
  // Sums of keys, by head, side, range and part. One side serves both where both are constant.
  float* Sum(int64_t head, int side, int64_t range, int part) {
    return sums_.data() +
           (((head * kSides + side) * layout_.ranges + range) * kParts + part) * state();
  }
  // The state of all keys beyond the bands of a range on one side.
  float* Border(int64_t head, int side, int64_t range) {
    return borders_.data() + ((head * kSides + side) * layout_.ranges + range) * state();
  }

  int64_t KeyFloats(int64_t tokens) const {
    return cpu::RoundUp(tokens, kGroup) * (shape().features + layer_->value_columns());
  }
  void FormKeys(int64_t head, float* scratch, Keys& keys) const;
  void AddKeys(const Keys& keys, int64_t begin, int64_t end, const FusedSide& side, Side which,
               float* state) const;
  void SumKeys(const Keys& keys, int64_t begin, int64_t end, const FusedSide& side, Side which,
               float* state) const;
  void SumRange(int64_t piece);
  void Scan(int64_t head, Side which);
  void ComputeRange(int64_t piece);
  void WalkBack(const Walk& walk) const;
  void WalkForward(const Walk& walk);
  void ComputeBlock(const Walk& walk, int64_t block);
  void ApplyStates(const Walk& walk, int64_t block, int64_t rows) const;

  const RouteContext context_;
  const std::shared_ptr<const FusedLayer> layer_;
  const std::shared_ptr<const FusedBands> bands_;
  const Layout layout_;
  cpu::AlignedFloats sums_;
  cpu::AlignedFloats borders_;
  BadRows bad_rows_;
};

FusedChunkwisePass::FusedChunkwisePass(RouteContext context,
                                       std::shared_ptr<const FusedLayer> layer,
                                       std::shared_ptr<const FusedBands> bands)
    : context_(std::move(context)),
      layer_(std::move(layer)),
      bands_(std::move(bands)),
      layout_(MakeLayout(*layer_, *bands_, context_.tokens())) {
  const int64_t heads = context_.head_count();
  const double tokens = static_cast<double>(std::min(layout_.range_tokens, layout_.n));
  if (layout_.ranges > 1) {
    sums_ = cpu::AlignedFloats(heads * kSides * layout_.ranges * kParts * state());
    borders_ = cpu::AlignedFloats(heads * kSides * layout_.ranges * state());
    AddPhase(heads * layout_.ranges, layout_.sum_flops * tokens,
             [this](int64_t piece) { SumRange(piece); });
    AddPhase(heads * kSides, kFlopsPerByte * 16 * static_cast<double>(layout_.ranges * state()),
             [this](int64_t piece) { Scan(piece / kSides, static_cast<Side>(piece % kSides)); });
  }
  AddPhase(heads * layout_.ranges, layout_.output_flops * tokens,
           [this](int64_t piece) { ComputeRange(piece); });
}

void FusedChunkwisePass::FormKeys(int64_t head, float* scratch, Keys& keys) const {
  const cpu::StridedRows k = HeadRows(context_.k, context_.heads[head], keys.begin);
  const cpu::StridedRows v = HeadRows(context_.v, context_.heads[head], keys.begin);
  const int64_t count = keys.end - keys.begin;
  for (int64_t j = 0; j < count; j += kB) {
    const int64_t block = std::min(kB, count - j);
    const int64_t next = std::clamp<int64_t>(count - j - kB, 0, kB);
    const cpu::StridedRows block_k = {k.data + j * k.stride, k.stride};
    const cpu::StridedRows block_v = {v.data + j * v.stride, v.stride};
    PrefetchRows({block_k.data + kB * k.stride, k.stride}, next, shape().head_dim);
    PrefetchRows({block_v.data + kB * v.stride, v.stride}, next, shape().head_dim);
    kernels().key_features(features(head), block_k, block, scratch,
                           keys.phi + j * shape().features);
    kernels().pack_values(block_v, block, shape().head_dim,
                          keys.values + j * layer_->value_columns());
  }
}

// state = decayed state + keys [begin, end), at most a block of them; both are whole groups from
// keys.begin on, and `end` may lie beyond the last key.
void FusedChunkwisePass::AddKeys(const Keys& keys, int64_t begin, int64_t end,
                                 const FusedSide& side, Side which, float* state) const {
  const int64_t first = begin - keys.begin;
  const int64_t length = end - begin;
  const float* key_weights = nullptr;
  float decay = 1;
  if (!side.constant) {
    // The last key before the band has weight one, and so has the first one after it.
    key_weights = side.key_weights.data() + (which == kBefore ? kB - length : 0);
    decay = side.Decay(length);
  }
  const int64_t present = std::min(end, cpu::RoundUp(keys.end - keys.begin, kGroup) + keys.begin);
  kernels().accumulate_state(
      shape(), (present - begin) / kGroup, keys.phi + first * shape().features,
      keys.values + first * layer_->value_columns(), key_weights, decay, state);
}

// state = the keys [begin, end) alone.
void FusedChunkwisePass::SumKeys(const Keys& keys, int64_t begin, int64_t end,
                                 const FusedSide& side, Side which, float* state) const {
  std::fill(state, state + this->state(), 0.0f);
  if (which == kBefore) {
    for (int64_t j = begin; j < end; j += kB) {
      AddKeys(keys, j, std::min(j + kB, end), side, which, state);
    }
    return;
  }
  for (int64_t j = end; j > begin; j -= kB) {
    AddKeys(keys, std::max(j - kB, begin), j, side, which, state);
  }
}

void FusedChunkwisePass::SumRange(int64_t piece) {
  const int64_t head = piece / layout_.ranges;
  const int64_t range = piece % layout_.ranges;
  const FusedBand& band = bands_->heads[head];
  Keys keys = {.begin = layout_.begin(range), .end = layout_.end(range)};
  ScratchParts scratch(cpu::ThreadScratch(KeyFloats(keys.end - keys.begin) +
                                          cpu::FeatureScratchFloats(shape().head_dim)));
  keys.phi = scratch.Take(cpu::RoundUp(keys.end - keys.begin, kGroup) * shape().features);
  keys.values = scratch.Take(cpu::RoundUp(keys.end - keys.begin, kGroup) * layer_->value_columns());
  FormKeys(head, scratch.Take(0), keys);

  const int64_t end = cpu::RoundUp(keys.end, kGroup);
  const bool last = range + 1 == layout_.ranges;
  const int64_t middle = std::min(keys.begin + layout_.reach, end);
  const int64_t third = last ? end : end - layout_.reach;
  for (const Side which : {kBefore, kAfter}) {
    const FusedSide& side = which == kBefore ? band.before : band.after;
    if (!side.present || (which == kAfter && band.shared_sums())) continue;
    SumKeys(keys, keys.begin, middle, side, which, Sum(head, which, range, kFirst));
    SumKeys(keys, middle, third, side, which, Sum(head, which, range, kMiddle));
    SumKeys(keys, third, end, side, which, Sum(head, which, range, kLast));
  }
}

// Before: the border of range R are the keys up to `reach` before its begin, that is the border of
// R - 1, the last part of R - 2 and the first two of R - 1. After: the mirror image. In double: the
// sums of ranges are few, and their errors would reach every row.
void FusedChunkwisePass::Scan(int64_t head, Side which) {
  const FusedBand& band = bands_->heads[head];
  const FusedSide& side = which == kBefore ? band.before : band.after;
  if (!side.present) return;
  const int source = band.shared_sums() ? kBefore : which;
  std::vector<double> running(state(), 0.0);
  const auto add = [&](const float* sum, int64_t tokens) {
    const double decay = side.constant ? 1 : std::exp(side.log_ratio * static_cast<double>(tokens));
    for (int64_t i = 0; i < state(); ++i) running[i] = decay * running[i] + sum[i];
  };
  const int64_t middle = layout_.range_tokens - 2 * layout_.reach;
  for (int64_t visited = 0; visited < layout_.ranges; ++visited) {
    const int64_t range = which == kBefore ? visited : layout_.ranges - 1 - visited;
    const int64_t last = which == kBefore ? range - 2 : range + 2;
    const int64_t passed = which == kBefore ? range - 1 : range + 1;
    if (last >= 0 && last < layout_.ranges) {
      add(Sum(head, source, last, which == kBefore ? kLast : kFirst), layout_.reach);
    }
    if (passed >= 0 && passed < layout_.ranges) {
      add(Sum(head, source, passed, which == kBefore ? kFirst : kLast), layout_.reach);
      add(Sum(head, source, passed, kMiddle), middle);
    }
    std::copy(running.begin(), running.end(), Border(head, which, range));
  }
}

void FusedChunkwisePass::ComputeRange(int64_t piece) {
  Walk walk = {.head = piece / layout_.ranges};
  const int64_t range = piece % layout_.ranges;
  walk.band = &bands_->heads[walk.head];
  walk.first_block = layout_.begin(range) / kB;
  walk.end_block = CeilDiv(layout_.end(range), kB);
  const int64_t blocks = walk.end_block - walk.first_block;
  walk.keys.begin = std::max<int64_t>(0, layout_.begin(range) - layout_.reach);
  walk.keys.end = std::min(layout_.n, walk.end_block * kB + layout_.reach);
  const int64_t padded = cpu::RoundUp(walk.keys.end - walk.keys.begin, kGroup);
  ScratchParts scratch(cpu::ThreadScratch(
      padded * (shape().features + layer_->value_columns()) + (blocks + 2) * state() +
      kB * (layer_->query_columns() + layer_->value_columns() + kGroup) +
      cpu::FeatureScratchFloats(shape().head_dim)));
  walk.keys.phi = scratch.Take(padded * shape().features);
  walk.keys.values = scratch.Take(padded * layer_->value_columns());
  walk.after = scratch.Take(blocks * state());
  walk.running = scratch.Take(state());
  walk.combined = scratch.Take(state());
  walk.queries = scratch.Take(kB * layer_->query_columns());
  walk.sums = scratch.Take(kB * layer_->value_columns());
  walk.weights = scratch.Take(kB * kGroup);
  walk.features = scratch.Take(0);
  FormKeys(walk.head, walk.features, walk.keys);

  std::fill(walk.running, walk.running + state(), 0.0f);
  if (layout_.ranges > 1 && walk.band->after.present) {
    std::copy_n(Border(walk.head, kAfter, range), state(), walk.running);
  }
  if (layout_.after && walk.band->after.present) WalkBack(walk);
  std::fill(walk.running, walk.running + state(), 0.0f);
  if (layout_.ranges > 1 && walk.band->before.present) {
    std::copy_n(Border(walk.head, kBefore, range), state(), walk.running);
  }
  WalkForward(walk);
}

void FusedChunkwisePass::WalkBack(const Walk& walk) const {
  for (int64_t block = walk.end_block - 1; block >= walk.first_block; --block) {
    std::copy_n(walk.running, state(), walk.after + (block - walk.first_block) * state());
    const int64_t begin = block * kB + layout_.reach;
    if (begin >= walk.keys.end) continue;
    AddKeys(walk.keys, begin, begin + kB, walk.band->after, kAfter, walk.running);
  }
}

void FusedChunkwisePass::WalkForward(const Walk& walk) {
  for (int64_t block = walk.first_block; block < walk.end_block; ++block) {
    ComputeBlock(walk, block);
    const int64_t end = (block + 1) * kB - layout_.reach;
    if (!layout_.before || !walk.band->before.present || end <= 0) continue;
    AddKeys(walk.keys, std::max<int64_t>(0, end - kB), end, walk.band->before, kBefore,
            walk.running);
  }
}

void FusedChunkwisePass::ComputeBlock(const Walk& walk, int64_t block) {
  const int64_t row = block * kB;
  const int64_t rows = std::min(kB, layout_.n - row);
  const int64_t head = context_.heads[walk.head];
  kernels().query_features(features(walk.head), HeadRows(context_.q, head, row), rows,
                           walk.features, walk.queries);
  PrefetchRows(HeadRows(context_.q, head, std::min(row + kB, layout_.n - 1)),
               std::clamp<int64_t>(layout_.n - row - kB, 0, kB), shape().head_dim);
  std::fill_n(walk.sums, rows * layer_->value_columns(), 0.0f);
  std::fill_n(walk.weights, rows * kGroup, 0.0f);
  const int64_t key = std::max<int64_t>(0, row - layout_.reach);
  const int64_t reach_after = layer_->weights().causal() ? 0 : layout_.reach;
  const int64_t key_end = std::min(layout_.n, row + kB + reach_after);
  const int64_t center = layout_.reach + kB - 1;  // index of c(0)
  const int64_t first = key - walk.keys.begin;
  kernels().accumulate_tile(shape(),
                            {.rows = rows,
                             .groups = cpu::KeyGroups(key_end - key),
                             .queries = walk.queries,
                             .keys = walk.keys.phi + first * shape().features,
                             .values = walk.keys.values + first * layer_->value_columns(),
                             .weights = walk.band->weights.data() + center + (key - row)},
                            walk.sums, walk.weights);
  ApplyStates(walk, block, rows);
  StoreDenominators(walk.weights, head, row, rows, context_.denominators);
  bad_rows_.Add(kernels().divide(shape(), rows, walk.sums, walk.weights,
                                 HeadOutput(context_.out, head, row), context_.out.stride(0)));
}

void FusedChunkwisePass::ApplyStates(const Walk& walk, int64_t block, int64_t rows) const {
  const FusedBand& band = *walk.band;
  const bool before = layout_.before && band.before.present && block * kB > layout_.reach;
  const bool after =
      layout_.after && band.after.present && (block + 1) * kB + layout_.reach < layout_.n;
  const float* const after_state = walk.after + (block - walk.first_block) * state();
  const auto apply = [&](const float* state, const float* factors) {
    kernels().apply_state(shape(), rows, walk.queries, state, factors, walk.sums, walk.weights);
  };
  if (band.shared_sums() && (before || after)) {
    kernels().combine(state(), before ? band.before.scale : 0, walk.running,
                      after ? band.after.scale : 0, after ? after_state : walk.running,
                      walk.combined);
    return apply(walk.combined, nullptr);
  }
  if (before) apply(walk.running, band.before.row_factors.data());
  if (after) apply(after_state, band.after.row_factors.data());
}

}  // namespace

std::unique_ptr<AttentionPass> MakeFusedChunkwisePass(RouteContext context,
                                                      std::shared_ptr<const FusedLayer> layer,
                                                      std::shared_ptr<const FusedBands> bands) {
  return std::make_unique<FusedChunkwisePass>(std::move(context), std::move(layer),
                                              std::move(bands));
}

AttentionCost FusedChunkwiseCost(const FusedLayer& layer, const FusedBands& bands, int64_t n) {
  const Layout layout = MakeLayout(layer, bands, n);
  const double heads = static_cast<double>(bands.heads.size());
  const double tokens = static_cast<double>(n);
  AttentionCost cost;
  cost.flops = heads * tokens * layout.output_flops;
  cost.largest_piece_flops =
      layout.output_flops * static_cast<double>(std::min(layout.range_tokens, n));
  if (layout.ranges > 1) {
    const double states = heads * static_cast<double>(layout.ranges * layer.state_floats());
    cost.flops += heads * tokens * layout.sum_flops + kFlopsPerByte * 16 * 2 * states;
    cost.bytes =
        static_cast<int64_t>(states) * kSides * (kParts + 1) * static_cast<int64_t>(sizeof(float));
  }
  return cost;
}

}  // namespace longwave
