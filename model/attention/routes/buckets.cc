#include "model/attention/routes/buckets.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "model/attention/phased_pass.h"
#include "model/attention/routes/fused_rows.h"

namespace longwave {
namespace {

constexpr int64_t kRows = BucketLayout::kRows;
constexpr int64_t kGroup = BucketLayout::kGroup;
constexpr int64_t kSegment = BucketLayout::kSegmentTokens;
static_assert(kRows == cpu::kRowBlock && kGroup == cpu::kKeyGroup);
constexpr int64_t kFloat = sizeof(float);
constexpr int64_t kDouble = sizeof(double);

// What the heads that are computed together may keep.
constexpr int64_t kGroupBytes = int64_t{256} << 20;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How one head is computed: a function of structure, shapes and length.
struct HeadWork {
  BucketLayout layout;
  double segment_flops = 0;  // of one segment: features, prefix sums, c
  double block_flops = 0;    // of one block of outputs
  int64_t blocks_per_piece = 1;
  int64_t bytes = 0;

  int64_t pieces() const { return CeilDiv(layout.blocks(), blocks_per_piece); }
  double scan_flops(int64_t state) const {
    return kFlopsPerByte * static_cast<double>(layout.segments() * state * (kFloat + kDouble));
  }
};

// Offsets on each side for which c is kept: those of the sequence and of its padding.
int64_t KeptOffsets(int64_t n) { return cpu::RoundUp(n, kSegment) + kRows; }

HeadWork MakeWork(const LayerState& layer, const FusedLayer& fused, int64_t head, int64_t n) {
  const int64_t state = fused.state_floats();
  const HeadStructure& structure = layer.weights.structure(static_cast<int>(head));
  const int64_t key = fused.shape().features + fused.value_columns();
  HeadWork work = {
      .layout = BucketLayout(structure, layer.shape.causal, n, key * kFloat, state * kFloat)};
  const double m = static_cast<double>(fused.shape().features);
  const double d = static_cast<double>(fused.shape().head_dim);
  const double tokens = static_cast<double>(std::min(n, kSegment));
  const double floats = static_cast<double>(state * kFloat);
  // An exponential in double is worth about a thousand operations of a matrix product.
  work.segment_flops = tokens * (2 * m * d + 2 * m * (d + 1) + 2000) +
                       kFlopsPerByte * floats * tokens / static_cast<double>(work.layout.stride());
  work.block_flops = kRows * (2 * m * d + 2 * work.layout.tile_keys() * (m + d + 1) +
                              (work.layout.sums() > 0 ? 2 * m * (d + 1) : 0)) +
                     // Two prefixes a sum, from the second-level cache or beyond it.
                     kFlopsPerByte * floats * work.layout.sums();
  work.blocks_per_piece =
      std::max<int64_t>(1, static_cast<int64_t>(kPieceFlops / work.block_flops));
  const int64_t keys = cpu::RoundUp(n, kGroup);
  work.bytes = kFloat * (keys * key + 2 * KeptOffsets(n) + work.layout.prefixes() * state) +
               kDouble * (work.layout.segments() + 1) * state;
  return work;
}

// A range of one head's blocks.
struct Piece {
  int64_t index = 0;  // of the head, in the context
  int64_t first_block = 0;
};

// Heads [first, end) of the context, computed together.
struct HeadRange {
  int64_t first = 0;
  int64_t end = 0;
  int64_t bytes = 0;
};

std::vector<HeadRange> RangesOf(const std::vector<HeadWork>& work) {
  std::vector<HeadRange> ranges;
  for (int64_t h = 0; h < static_cast<int64_t>(work.size()); ++h) {
    if (h == 0 || ranges.back().bytes + work[h].bytes > kGroupBytes) ranges.push_back({h, h, 0});
    ranges.back().bytes += work[h].bytes;
    ranges.back().end = h + 1;
  }
  return ranges;
}

std::vector<HeadWork> MakeWork(const LayerState& layer, const FusedLayer& fused,
                               const std::vector<int64_t>& heads, int64_t n) {
  std::vector<HeadWork> work;
  for (const int64_t head : heads) work.push_back(MakeWork(layer, fused, head, n));
  return work;
}

// What an average piece of a range of heads costs.
struct RangeFlops {
  double segment = 0;
  double piece = 0;  // of outputs
  int64_t pieces = 0;
};

RangeFlops FlopsOf(const std::vector<HeadWork>& work, const HeadRange& range) {
  RangeFlops flops;
  for (int64_t h = range.first; h < range.end; ++h) {
    flops.segment += work[h].segment_flops / static_cast<double>(range.end - range.first);
    flops.piece += work[h].block_flops * static_cast<double>(work[h].layout.blocks());
    flops.pieces += work[h].pieces();
  }
  flops.piece /= static_cast<double>(flops.pieces);
  return flops;
}

class BucketsPass final : public PhasedPass {
 public:
  BucketsPass(RouteContext context, std::shared_ptr<const FusedLayer> layer);
  absl::Status status() const override { return bad_rows_.status(); }
  int64_t ResidentBytes() const override { return bytes_; }

 private:
  // What is kept of one head while it is at work.
  struct Store {
    cpu::AlignedFloats phi;  // of keys
    cpu::AlignedFloats values;
    cpu::AlignedFloats weights;  // c(o) from o = -KeptOffsets on
    cpu::AlignedFloats
        prefixes;  // [segments][strides][state]: the segment's keys up to a stride's end
    std::vector<double> segments;  // [segments + 1][state]: all keys before a segment
  };
  struct Sum {
    int64_t begin = 0;
    int64_t end = 0;
    double log_value = 0;
    bool operator==(const Sum&) const = default;
  };
  // One piece of outputs on its way.
  struct Walk {
    int64_t index = 0;  // of the head
    float* queries = nullptr;
    float* sums = nullptr;
    float* weights = nullptr;
    float* far = nullptr;         // the runs' state
    float* difference = nullptr;  // of two prefixes
    float* whole = nullptr;       // the part of `far` that is of whole segments
    float* features = nullptr;    // scratch of the feature kernel
    std::vector<Sum> runs;        // of the block at work
    std::vector<Sum> whole_runs;  // the whole segments in them that `whole` is of
  };

  const cpu::Kernels& kernels() const { return layer_->kernels(); }
  const cpu::HeadShape& shape() const { return layer_->shape(); }
  int64_t state() const { return layer_->state_floats(); }
  int64_t tokens() const { return context_.tokens(); }
  int64_t segments() const { return CeilDiv(tokens(), kSegment); }
  const BucketLayout& layout(int64_t index) const { return work_[index].layout; }
  Store& store(int64_t index) { return stores_[slots_[index]]; }

  void AddPhases(const HeadRange& range);
  void Allocate(const HeadRange& range);
  void FormSegment(int64_t index, int64_t segment);
  void FormWeights(int64_t index, int64_t segment);
  void FormPrefixes(int64_t index, int64_t segment, int64_t keys_end);
  void ScanSegments(int64_t index);
  void ComputeBlocks(const Piece& piece);
  void ComputeBlock(Walk& walk, int64_t block);
  void AddTile(const Walk& walk, int64_t row, int64_t rows, BucketLayout::Keys keys);
  void FormFar(Walk& walk);
  void FormWhole(Walk& walk);
  void AddPrefixes(const Walk& walk, const float* to, const float* from, float weight);
  // The sum of a segment's keys before `key`; null for none.
  const float* Prefix(int64_t index, int64_t key);

  const RouteContext context_;
  const std::shared_ptr<const FusedLayer> layer_;
  const std::vector<HeadWork> work_;
  std::vector<int64_t> slots_;  // by head
  std::vector<Store> stores_;   // by slot; heads of different ranges share them
  int64_t bytes_ = 0;
  BadRows bad_rows_;
};

BucketsPass::BucketsPass(RouteContext context, std::shared_ptr<const FusedLayer> layer)
    : context_(std::move(context)),
      layer_(std::move(layer)),
      work_(MakeWork(*context_.layer, *layer_, context_.heads, tokens())) {
  for (const HeadRange& range : RangesOf(work_)) {
    bytes_ = std::max(bytes_, range.bytes);
    for (int64_t h = range.first; h < range.end; ++h) slots_.push_back(h - range.first);
    AddPhases(range);
  }
  stores_.resize(*std::max_element(slots_.begin(), slots_.end()) + 1);
}

void BucketsPass::AddPhases(const HeadRange& range) {
  const int64_t heads = range.end - range.first;
  const RangeFlops flops = FlopsOf(work_, range);
  std::vector<Piece> pieces;
  for (int64_t h = range.first; h < range.end; ++h) {
    for (int64_t b = 0; b < work_[h].layout.blocks(); b += work_[h].blocks_per_piece) {
      pieces.push_back({h, b});
    }
  }
  AddPhase(1, 0, [this, range](int64_t) { Allocate(range); });
  AddPhase(heads * segments(), flops.segment, [this, range](int64_t piece) {
    FormSegment(range.first + piece / segments(), piece % segments());
  });
  AddPhase(heads, work_[range.first].scan_flops(state()),
           [this, range](int64_t piece) { ScanSegments(range.first + piece); });
  AddPhase(flops.pieces, flops.piece,
           [this, pieces = std::move(pieces)](int64_t piece) { ComputeBlocks(pieces[piece]); });
}

void BucketsPass::Allocate(const HeadRange& range) {
  const int64_t keys = cpu::RoundUp(tokens(), kGroup);
  const auto fit = [](cpu::AlignedFloats& memory, int64_t floats) {
    if (memory.size() != floats) memory = cpu::AlignedFloats(floats);
  };
  for (int64_t h = range.first; h < range.end; ++h) {
    Store& kept = store(h);
    fit(kept.phi, keys * shape().features);
    fit(kept.values, keys * layer_->value_columns());
    fit(kept.weights, 2 * KeptOffsets(tokens()));
    fit(kept.prefixes, layout(h).prefixes() * state());
    kept.segments.assign((segments() + 1) * state(), 0.0);
  }
}

void BucketsPass::FormSegment(int64_t index, int64_t segment) {
  const int64_t head = context_.heads[index];
  const int64_t begin = segment * kSegment;
  const int64_t end = std::min(begin + kSegment, tokens());
  const int64_t m = shape().features;
  const cpu::StridedRows k = HeadRows(context_.k, head, begin);
  float* const phi = store(index).phi.data() + begin * m;
  float* const scratch = cpu::ThreadScratch(cpu::FeatureScratchFloats(shape().head_dim));
  for (int64_t j = 0; j < end - begin; j += kRows) {
    kernels().key_features(layer_->features(head), {k.data + j * k.stride, k.stride},
                           std::min(kRows, end - begin - j), scratch, phi + j * m);
  }
  kernels().pack_values(HeadRows(context_.v, head, begin), end - begin, shape().head_dim,
                        store(index).values.data() + begin * layer_->value_columns());
  FormWeights(index, segment);
  FormPrefixes(index, segment, end);
}

// c at the distances [begin, begin + segment) on both sides; the last segment has the edge too.
void BucketsPass::FormWeights(int64_t index, int64_t segment) {
  const ToeplitzWeights& weights = context_.layer->weights;
  const int head = static_cast<int>(context_.heads[index]);
  const int64_t begin = segment * kSegment;
  const int64_t end = segment + 1 == segments() ? KeptOffsets(tokens()) : begin + kSegment;
  float* const zero = store(index).weights.data() + KeptOffsets(tokens());
  const std::vector<double> before = weights.Range(head, -end, -begin - 1);
  const std::vector<double> after = weights.Range(head, begin, end - 1);
  std::copy(before.begin(), before.end(), zero - end);
  std::copy(after.begin(), after.end(), zero + begin);
}

void BucketsPass::FormPrefixes(int64_t index, int64_t segment, int64_t keys_end) {
  const int64_t stride = layout(index).stride();
  const int64_t end = cpu::RoundUp(keys_end, kGroup);
  const int64_t begin = segment * kSegment;
  float* const running = cpu::ThreadScratch(state());
  float* prefix = store(index).prefixes.data() + begin / stride * state();
  std::fill_n(running, state(), 0.0F);
  for (int64_t j = begin; j < end; j += stride, prefix += state()) {
    const int64_t stop = std::min(j + stride, end);
    for (int64_t key = j; key < stop; key += kRows) {
      kernels().accumulate_state(shape(), (std::min(key + kRows, stop) - key) / kGroup,
                                 store(index).phi.data() + key * shape().features,
                                 store(index).values.data() + key * layer_->value_columns(),
                                 /*key_weights=*/nullptr, /*decay=*/1, running);
    }
    std::copy_n(running, state(), prefix);
  }
}

void BucketsPass::ScanSegments(int64_t index) {
  double* sums = store(index).segments.data();
  // Whole segments: no sum ends at the end of the last one if it is not.
  const int64_t whole = cpu::RoundUp(tokens(), layout(index).stride()) / kSegment;
  for (int64_t segment = 0; segment < whole; ++segment, sums += state()) {
    const float* const last = store(index).prefixes.data() +
                              ((segment + 1) * (kSegment / layout(index).stride()) - 1) * state();
    for (int64_t i = 0; i < state(); ++i) sums[state() + i] = sums[i] + last[i];
  }
}

void BucketsPass::ComputeBlocks(const Piece& piece) {
  const int64_t columns = layer_->value_columns();
  ScratchParts scratch(cpu::ThreadScratch(kRows * (layer_->query_columns() + columns + kGroup) +
                                          3 * cpu::RoundUp(state(), kGroup) +
                                          cpu::FeatureScratchFloats(shape().head_dim)));
  Walk walk = {.index = piece.index};
  walk.queries = scratch.Take(kRows * layer_->query_columns());
  walk.sums = scratch.Take(kRows * columns);
  walk.weights = scratch.Take(kRows * kGroup);
  walk.far = scratch.Take(state());
  walk.difference = scratch.Take(state());
  walk.whole = scratch.Take(state());
  walk.features = scratch.Take(0);
  std::fill_n(walk.whole, state(), 0.0F);
  const int64_t end = std::min(piece.first_block + work_[piece.index].blocks_per_piece,
                               layout(piece.index).blocks());
  for (int64_t block = piece.first_block; block < end; ++block) ComputeBlock(walk, block);
}

void BucketsPass::ComputeBlock(Walk& walk, int64_t block) {
  const int64_t head = context_.heads[walk.index];
  const int64_t row = block * kRows;
  const int64_t rows = std::min(kRows, tokens() - row);
  kernels().query_features(layer_->features(head), HeadRows(context_.q, head, row), rows,
                           walk.features, walk.queries);
  std::fill_n(walk.sums, rows * layer_->value_columns(), 0.0F);
  std::fill_n(walk.weights, rows * kGroup, 0.0F);
  walk.runs.clear();
  layout(walk.index)
      .Visit(
          block, [&](BucketLayout::Keys keys) { AddTile(walk, row, rows, keys); },
          [&](BucketLayout::Keys keys, double log_value) {
            walk.runs.push_back({keys.begin, keys.end, log_value});
          });
  if (!walk.runs.empty()) {
    FormFar(walk);
    kernels().apply_state(shape(), rows, walk.queries, walk.far, /*row_factors=*/nullptr, walk.sums,
                          walk.weights);
  }
  bad_rows_.Add(kernels().divide(shape(), rows, walk.sums, walk.weights,
                                 HeadOutput(context_.out, head, row), context_.out.stride(0)));
}

void BucketsPass::AddTile(const Walk& walk, int64_t row, int64_t rows, BucketLayout::Keys keys) {
  const Store& kept = store(walk.index);
  kernels().accumulate_tile(
      shape(),
      {.rows = rows,
       .groups = cpu::KeyGroups(keys.end - keys.begin),
       .queries = walk.queries,
       .keys = kept.phi.data() + keys.begin * shape().features,
       .values = kept.values.data() + keys.begin * layer_->value_columns(),
       .weights = kept.weights.data() + KeptOffsets(tokens()) + keys.begin - row},
      walk.sums, walk.weights);
}

void BucketsPass::FormFar(Walk& walk) {
  FormWhole(walk);
  std::copy_n(walk.whole, state(), walk.far);
  for (const Sum& run : walk.runs) {
    const float weight = static_cast<float>(std::exp(run.log_value));
    const int64_t segment = run.begin / kSegment;
    const float* const begin = Prefix(walk.index, run.begin);
    const float* const end = Prefix(walk.index, run.end);
    if (segment == run.end / kSegment) {
      AddPrefixes(walk, end, begin, weight);
      continue;
    }
    if (begin != nullptr) {
      const int64_t last = (segment + 1) * (kSegment / layout(walk.index).stride()) - 1;
      AddPrefixes(walk, store(walk.index).prefixes.data() + last * state(), begin, weight);
    }
    if (end != nullptr) AddPrefixes(walk, end, nullptr, weight);
  }
}

// Which whole segments lie in runs changes every few blocks only, so that their sum is kept. It is
// the same whether it was kept or not.
void BucketsPass::FormWhole(Walk& walk) {
  std::vector<Sum> whole_runs;
  for (const Sum& run : walk.runs) {
    const Sum whole = {CeilDiv(run.begin, kSegment), run.end / kSegment, run.log_value};
    if (whole.begin < whole.end) whole_runs.push_back(whole);
  }
  if (whole_runs == walk.whole_runs) return;
  walk.whole_runs = std::move(whole_runs);
  const double* const sums = store(walk.index).segments.data();
  std::vector<double> total(state(), 0.0);
  for (const Sum& run : walk.whole_runs) {
    const double weight = std::exp(run.log_value);
    const double* const begin = sums + run.begin * state();
    const double* const end = sums + run.end * state();
    for (int64_t i = 0; i < state(); ++i) total[i] += weight * (end[i] - begin[i]);
  }
  std::copy(total.begin(), total.end(), walk.whole);
}

// far += weight (to - from).
void BucketsPass::AddPrefixes(const Walk& walk, const float* to, const float* from, float weight) {
  if (from != nullptr) {
    kernels().combine(state(), 1, to, -1, from, walk.difference);
    to = walk.difference;
  }
  kernels().combine(state(), 1, walk.far, weight, to, walk.far);
}

const float* BucketsPass::Prefix(int64_t index, int64_t key) {
  const int64_t stride = layout(index).stride();
  if (key % kSegment == 0) return nullptr;
  return store(index).prefixes.data() + (key / stride - 1) * state();
}

}  // namespace

std::unique_ptr<AttentionPass> MakeBucketsPass(RouteContext context,
                                               std::shared_ptr<const FusedLayer> layer) {
  return std::make_unique<BucketsPass>(std::move(context), std::move(layer));
}

AttentionCost BucketsCost(const LayerState& layer, const FusedLayer& fused,
                          const std::vector<int64_t>& heads, int64_t n) {
  const std::vector<HeadWork> work = MakeWork(layer, fused, heads, n);
  AttentionCost cost;
  for (const HeadRange& range : RangesOf(work)) {
    const RangeFlops flops = FlopsOf(work, range);
    const double scan = work[range.first].scan_flops(fused.state_floats());
    const int64_t segments = work[range.first].layout.segments();
    const int64_t count = range.end - range.first;
    cost.bytes = std::max(cost.bytes, range.bytes);
    cost.flops += static_cast<double>(count * segments) * flops.segment +
                  static_cast<double>(count) * scan +
                  static_cast<double>(flops.pieces) * flops.piece;
    cost.largest_piece_flops =
        std::max({cost.largest_piece_flops, flops.segment, scan, flops.piece});
  }
  return cost;
}

}  // namespace longwave
