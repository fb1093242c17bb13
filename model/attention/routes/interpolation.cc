#include "model/attention/routes/interpolation.h"

#include <algorithm>
#include <utility>

#include "model/attention/phased_pass.h"
#include "model/attention/routes/fused_rows.h"

namespace longwave {
namespace {

constexpr int64_t kRows = cpu::kRowBlock;
constexpr int64_t kGroup = cpu::kKeyGroup;
constexpr int64_t kFloat = sizeof(float);

// What the heads that are computed together may keep.
constexpr int64_t kGroupBytes = int64_t{256} << 20;
// Columns of one product of the coupling: enough that packing its rows costs little.
constexpr int64_t kProductColumns = 512;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How one head is computed: a function of its certificate, shapes and length.
struct HeadWork {
  int64_t nodes = 0;
  int64_t block = 0;   // B
  int64_t blocks = 0;  // of the sequence
  int64_t block_columns = 0;
  int64_t blocks_per_moment_piece = 1;
  int64_t blocks_per_output_piece = 1;
  int64_t product_rows = 0;
  double moment_flops = 0;  // of one block
  double output_flops = 0;  // of one block
  int64_t bytes = 0;

  int64_t terms() const { return blocks * nodes; }  // rows of the coupling matrix
  bool far() const { return blocks > 2; }
  int64_t moment_pieces() const { return CeilDiv(blocks, blocks_per_moment_piece); }
  int64_t output_pieces() const { return CeilDiv(blocks, blocks_per_output_piece); }
  int64_t product_row_pieces() const { return CeilDiv(terms(), product_rows); }
};

HeadWork MakeWork(const AttentionShape& shape, const FusedLayer& fused,
                  const HeadCertificate& certificate, int64_t n) {
  const int64_t state = fused.state_floats();
  HeadWork work = {.nodes = certificate.nodes, .block = InterpolationBlock(n)};
  work.blocks = CeilDiv(n, work.block);
  const double m = static_cast<double>(shape.features);
  const double d = static_cast<double>(shape.head_dim);
  const double nodes = static_cast<double>(work.nodes);
  const double rows = static_cast<double>(std::min(n, work.block));
  const double near = static_cast<double>(std::min(n, (shape.causal ? 2 : 3) * work.block));
  const double features = 2 * m * d;
  work.moment_flops = rows * (features + nodes * 2 * m * (d + 1));
  // The features of three blocks' keys at most, beside those of the queries.
  work.output_flops =
      rows * (4 * features + 2 * near * (m + d + 1) + (work.far() ? nodes * 2 * m * (d + 1) : 0));
  const auto per_piece = [&](double flops) {
    return std::clamp<int64_t>(static_cast<int64_t>(kPieceFlops / flops), 1, work.blocks);
  };
  work.blocks_per_moment_piece = per_piece(work.moment_flops);
  work.blocks_per_output_piece = per_piece(work.output_flops);
  work.block_columns = std::min(kProductColumns, state);
  const double row_flops = 2 * static_cast<double>(work.terms() * work.block_columns);
  work.product_rows = std::clamp<int64_t>(
      cpu::RoundUp(static_cast<int64_t>(kPieceFlops / row_flops), kRows), kRows, work.terms());
  if (work.far()) {
    work.bytes = kFloat * (2 * work.terms() * state + work.terms() * work.terms() +
                           work.nodes * (2 * work.blocks - 1) * work.nodes);
  }
  return work;
}

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

std::vector<HeadWork> MakeWork(const AttentionShape& shape, const FusedLayer& fused,
                               const InterpolationCertificates& certificates,
                               const std::vector<int64_t>& heads, int64_t n) {
  std::vector<HeadWork> work;
  for (const int64_t head : heads) {
    work.push_back(MakeWork(shape, fused, certificates.at(static_cast<int>(head), n), n));
  }
  return work;
}

// One piece of one head: what it is of, counted in the phase's own units.
struct Piece {
  int64_t index = 0;  // of the head, in the context
  int64_t part = 0;
};

// A phase over some heads: its pieces and what an average one costs.
struct PhasePlan {
  std::vector<Piece> pieces;
  double flops = 0;

  void Add(int64_t index, int64_t parts, double part_flops) {
    flops = (flops * static_cast<double>(pieces.size()) + part_flops * static_cast<double>(parts)) /
            static_cast<double>(pieces.size() + parts);
    for (int64_t part = 0; part < parts; ++part) pieces.push_back({index, part});
  }
};

struct RangePlan {
  PhasePlan coupling;
  PhasePlan moments;
  PhasePlan products;
  PhasePlan outputs;
};

RangePlan PlanOf(const std::vector<HeadWork>& work, const HeadRange& range, int64_t state) {
  RangePlan plan;
  for (int64_t h = range.first; h < range.end; ++h) {
    const HeadWork& w = work[h];
    const auto average = [&](double block_flops, int64_t pieces) {
      return block_flops * static_cast<double>(w.blocks) / static_cast<double>(pieces);
    };
    if (w.far()) {
      const double copied = static_cast<double>(w.terms() * w.terms() * kFloat);
      plan.coupling.Add(h, w.product_row_pieces(),
                        kFlopsPerByte * copied / static_cast<double>(w.product_row_pieces()));
      plan.moments.Add(h, w.moment_pieces(), average(w.moment_flops, w.moment_pieces()));
      const int64_t products = w.product_row_pieces() * CeilDiv(state, w.block_columns);
      plan.products.Add(h, products,
                        2 * static_cast<double>(w.terms()) * static_cast<double>(w.terms()) *
                            static_cast<double>(state) / static_cast<double>(products));
    }
    plan.outputs.Add(h, w.output_pieces(), average(w.output_flops, w.output_pieces()));
  }
  return plan;
}

class InterpolationPass final : public PhasedPass {
 public:
  InterpolationPass(RouteContext context, std::shared_ptr<const FusedLayer> layer,
                    const InterpolationCertificates& certificates);
  absl::Status status() const override { return bad_rows_.status(); }
  int64_t ResidentBytes() const override { return bytes_; }

 private:
  // What is kept of one head while it is at work.
  struct Store {
    cpu::AlignedFloats table;    // [nodes][2 blocks - 1][nodes]: c by difference of blocks
    cpu::AlignedFloats matrix;   // [terms][terms]
    cpu::AlignedFloats moments;  // [terms][state]
    cpu::AlignedFloats coupled;  // [terms][state]
  };
  // Grid and its Lagrange weights in fp32, [nodes][block].
  struct Grid {
    InterpolationGrid grid;
    cpu::AlignedFloats lagrange;
    const float* L(int64_t node) const { return lagrange.data() + node * grid.block; }
  };
  // phi(k) and v of the tokens [begin, end), padded to whole groups.
  struct Keys {
    int64_t begin = 0;
    int64_t end = 0;
    float* phi = nullptr;
    float* values = nullptr;
  };

  const cpu::Kernels& kernels() const { return layer_->kernels(); }
  const cpu::HeadShape& shape() const { return layer_->shape(); }
  int64_t state() const { return layer_->state_floats(); }
  int64_t tokens() const { return context_.tokens(); }
  Store& store(int64_t index) { return stores_[slots_[index]]; }
  const Grid& grid(int64_t index) const { return grids_[work_[index].nodes]; }
  int64_t KeyFloats(int64_t keys) const {
    return cpu::RoundUp(keys, kGroup) * (shape().features + layer_->value_columns());
  }

  void AddPhases(const HeadRange& range);
  void Allocate(const HeadRange& range);
  void FormTable(int64_t index);
  void FormMatrix(const Piece& piece);
  void FormKeys(int64_t index, Keys& keys, ScratchParts& scratch, float* features) const;
  void FormMoments(const Piece& piece);
  void Multiply(const Piece& piece);
  void ComputeOutputs(const Piece& piece);
  // Rows of a block of B queries, `first` of the block on.
  void ComputeRows(int64_t index, int64_t block, int64_t first, const Keys& keys, float* queries,
                   float* sums, float* weights, float* features);

  const RouteContext context_;
  const std::shared_ptr<const FusedLayer> layer_;
  const std::vector<HeadWork> work_;
  std::vector<Grid> grids_;     // by nodes
  std::vector<int64_t> slots_;  // by head
  std::vector<Store> stores_;   // by slot; heads of different ranges share them
  int64_t bytes_ = 0;
  BadRows bad_rows_;
};

InterpolationPass::InterpolationPass(RouteContext context, std::shared_ptr<const FusedLayer> layer,
                                     const InterpolationCertificates& certificates)
    : context_(std::move(context)),
      layer_(std::move(layer)),
      work_(MakeWork(context_.layer->shape, *layer_, certificates, context_.heads, tokens())),
      grids_(InterpolationCertificates::kMaxNodes + 1) {
  for (const HeadWork& work : work_) {
    Grid& made = grids_[work.nodes];
    if (!made.grid.nodes.empty()) continue;
    made.grid = MakeInterpolationGrid(work.block, work.nodes);
    made.lagrange = cpu::AlignedFloats(work.nodes * work.block);
    std::copy(made.grid.lagrange.begin(), made.grid.lagrange.end(), made.lagrange.data());
  }
  for (const HeadRange& range : RangesOf(work_)) {
    bytes_ = std::max(bytes_, range.bytes);
    for (int64_t h = range.first; h < range.end; ++h) slots_.push_back(h - range.first);
    AddPhases(range);
  }
  stores_.resize(*std::max_element(slots_.begin(), slots_.end()) + 1);
}

void InterpolationPass::AddPhases(const HeadRange& range) {
  RangePlan plan = PlanOf(work_, range, state());
  const auto add = [this](PhasePlan phase, void (InterpolationPass::*run)(const Piece&)) {
    const int64_t count = static_cast<int64_t>(phase.pieces.size());
    AddPhase(count, phase.flops, [this, run, pieces = std::move(phase.pieces)](int64_t piece) {
      (this->*run)(pieces[piece]);
    });
  };
  AddPhase(1, 0, [this, range](int64_t) { Allocate(range); });
  AddPhase(range.end - range.first, 0,
           [this, range](int64_t piece) { FormTable(range.first + piece); });
  add(std::move(plan.coupling), &InterpolationPass::FormMatrix);
  add(std::move(plan.moments), &InterpolationPass::FormMoments);
  add(std::move(plan.products), &InterpolationPass::Multiply);
  add(std::move(plan.outputs), &InterpolationPass::ComputeOutputs);
}

void InterpolationPass::Allocate(const HeadRange& range) {
  const auto fit = [](cpu::AlignedFloats& memory, int64_t floats) {
    if (memory.size() != floats) memory = cpu::AlignedFloats(floats);
  };
  for (int64_t h = range.first; h < range.end; ++h) {
    const HeadWork& work = work_[h];
    if (!work.far()) continue;
    fit(store(h).table, work.nodes * (2 * work.blocks - 1) * work.nodes);
    fit(store(h).matrix, work.terms() * work.terms());
    fit(store(h).moments, work.terms() * state());
    fit(store(h).coupled, work.terms() * state());
  }
}

void InterpolationPass::FormTable(int64_t index) {
  const HeadWork& work = work_[index];
  if (!work.far()) return;
  const ExtendedWeights weights(context_.layer->weights, static_cast<int>(context_.heads[index]));
  const std::vector<int64_t>& nodes = grid(index).grid.nodes;
  float* out = store(index).table.data();
  for (int64_t a = 0; a < work.nodes; ++a) {
    for (int64_t apart = 1 - work.blocks; apart < work.blocks; ++apart) {
      const bool absent = std::abs(apart) < 2 || (context_.layer->shape.causal && apart > 0);
      for (int64_t b = 0; b < work.nodes; ++b) {
        *out++ = absent ? 0.0F
                        : static_cast<float>(weights.At(apart * work.block + nodes[b] - nodes[a]));
      }
    }
  }
}

// A block's row of the matrix is a run of the table: one block further, it begins one block
// earlier.
void InterpolationPass::FormMatrix(const Piece& piece) {
  const HeadWork& work = work_[piece.index];
  const int64_t table_row = (2 * work.blocks - 1) * work.nodes;
  const int64_t first = piece.part * work.product_rows;
  const int64_t end = std::min(first + work.product_rows, work.terms());
  for (int64_t row = first; row < end; ++row) {
    const int64_t block = row / work.nodes;
    const float* const run = store(piece.index).table.data() + row % work.nodes * table_row +
                             (work.blocks - 1 - block) * work.nodes;
    std::copy_n(run, work.terms(), store(piece.index).matrix.data() + row * work.terms());
  }
}

void InterpolationPass::FormKeys(int64_t index, Keys& keys, ScratchParts& scratch,
                                 float* features) const {
  const int64_t head = context_.heads[index];
  const int64_t count = keys.end - keys.begin;
  const int64_t m = shape().features;
  keys.phi = scratch.Take(cpu::RoundUp(count, kGroup) * m);
  keys.values = scratch.Take(cpu::RoundUp(count, kGroup) * layer_->value_columns());
  const cpu::StridedRows k = HeadRows(context_.k, head, keys.begin);
  for (int64_t j = 0; j < count; j += kRows) {
    kernels().key_features(layer_->features(head), {k.data + j * k.stride, k.stride},
                           std::min(kRows, count - j), features, keys.phi + j * m);
  }
  kernels().pack_values(HeadRows(context_.v, head, keys.begin), count, shape().head_dim,
                        keys.values);
}

void InterpolationPass::FormMoments(const Piece& piece) {
  const HeadWork& work = work_[piece.index];
  const int64_t first = piece.part * work.blocks_per_moment_piece;
  const int64_t end = std::min(first + work.blocks_per_moment_piece, work.blocks);
  const int64_t scratch_floats =
      KeyFloats(work.block) + cpu::FeatureScratchFloats(shape().head_dim) + 2 * kGroup;
  for (int64_t block = first; block < end; ++block) {
    ScratchParts scratch(cpu::ThreadScratch(scratch_floats));
    float* const features = scratch.Take(cpu::FeatureScratchFloats(shape().head_dim));
    Keys keys = {.begin = block * work.block, .end = std::min((block + 1) * work.block, tokens())};
    FormKeys(piece.index, keys, scratch, features);
    const int64_t count = cpu::RoundUp(keys.end - keys.begin, kGroup);
    for (int64_t a = 0; a < work.nodes; ++a) {
      float* const moment = store(piece.index).moments.data() + (block * work.nodes + a) * state();
      std::fill_n(moment, state(), 0.0F);
      for (int64_t j = 0; j < count; j += kRows) {
        kernels().accumulate_state(shape(), std::min(kRows, count - j) / kGroup,
                                   keys.phi + j * shape().features,
                                   keys.values + j * layer_->value_columns(),
                                   grid(piece.index).L(a) + j, /*decay=*/1, moment);
      }
    }
  }
}

// Some rows and columns of coupled = matrix * moments. Causal rows need the moments before them
// alone.
void InterpolationPass::Multiply(const Piece& piece) {
  const HeadWork& work = work_[piece.index];
  Store& kept = store(piece.index);
  const int64_t row_pieces = work.product_row_pieces();
  const int64_t row = piece.part % row_pieces * work.product_rows;
  const int64_t rows = std::min(work.product_rows, work.terms() - row);
  const int64_t column = piece.part / row_pieces * work.block_columns;
  const int64_t columns = std::min(work.block_columns, state() - column);
  int64_t terms = work.terms();
  if (context_.layer->shape.causal) terms = CeilDiv(row + rows, work.nodes) * work.nodes;
  kernels().multiply(rows, terms, columns, kept.matrix.data() + row * work.terms(), work.terms(),
                     kept.moments.data() + column, state(),
                     cpu::ThreadScratch(cpu::ProductScratchFloats(terms)),
                     kept.coupled.data() + row * state() + column, state());
}

void InterpolationPass::ComputeOutputs(const Piece& piece) {
  const HeadWork& work = work_[piece.index];
  const int64_t first = piece.part * work.blocks_per_output_piece;
  const int64_t end = std::min(first + work.blocks_per_output_piece, work.blocks);
  const bool causal = context_.layer->shape.causal;
  Keys keys = {.begin = std::max<int64_t>(0, first - 1) * work.block,
               .end = std::min((end + (causal ? 0 : 1)) * work.block, tokens())};
  ScratchParts scratch(cpu::ThreadScratch(
      KeyFloats(keys.end - keys.begin) + cpu::FeatureScratchFloats(shape().head_dim) +
      kRows * (layer_->query_columns() + layer_->value_columns() + kGroup) + 6 * kGroup));
  float* const features = scratch.Take(cpu::FeatureScratchFloats(shape().head_dim));
  float* const queries = scratch.Take(kRows * layer_->query_columns());
  float* const sums = scratch.Take(kRows * layer_->value_columns());
  float* const weights = scratch.Take(kRows * kGroup);
  FormKeys(piece.index, keys, scratch, features);
  for (int64_t block = first; block < end; ++block) {
    const int64_t count = std::min(work.block, tokens() - block * work.block);
    for (int64_t row = 0; row < count; row += kRows) {
      ComputeRows(piece.index, block, row, keys, queries, sums, weights, features);
    }
  }
}

void InterpolationPass::ComputeRows(int64_t index, int64_t block, int64_t first, const Keys& keys,
                                    float* queries, float* sums, float* weights, float* features) {
  const HeadWork& work = work_[index];
  const int64_t head = context_.heads[index];
  const int64_t row = block * work.block + first;
  const int64_t rows = std::min({kRows, work.block - first, tokens() - row});
  kernels().query_features(layer_->features(head), HeadRows(context_.q, head, row), rows, features,
                           queries);
  std::fill_n(sums, rows * layer_->value_columns(), 0.0F);
  std::fill_n(weights, rows * kGroup, 0.0F);
  const int64_t key = std::max<int64_t>(0, block - 1) * work.block;
  const int64_t key_end =
      std::min(tokens(), context_.layer->shape.causal ? row + rows : (block + 2) * work.block);
  const int64_t skipped = key - keys.begin;
  kernels().accumulate_tile(shape(),
                            {.rows = rows,
                             .groups = cpu::KeyGroups(key_end - key),
                             .queries = queries,
                             .keys = keys.phi + skipped * shape().features,
                             .values = keys.values + skipped * layer_->value_columns(),
                             .weights = layer_->near(head) + key - row},
                            sums, weights);
  for (int64_t a = 0; work.far() && a < work.nodes; ++a) {
    kernels().apply_state(shape(), rows, queries,
                          store(index).coupled.data() + (block * work.nodes + a) * state(),
                          grid(index).L(a) + first, sums, weights);
  }
  bad_rows_.Add(kernels().divide(shape(), rows, sums, weights, HeadOutput(context_.out, head, row),
                                 context_.out.stride(0)));
}

}  // namespace

std::unique_ptr<AttentionPass> MakeInterpolationPass(
    RouteContext context, std::shared_ptr<const FusedLayer> layer,
    const InterpolationCertificates& certificates) {
  return std::make_unique<InterpolationPass>(std::move(context), std::move(layer), certificates);
}

AttentionCost InterpolationCost(const LayerState& layer, const FusedLayer& fused,
                                const InterpolationCertificates& certificates,
                                const std::vector<int64_t>& heads, int64_t n) {
  const std::vector<HeadWork> work = MakeWork(layer.shape, fused, certificates, heads, n);
  AttentionCost cost;
  for (const HeadRange& range : RangesOf(work)) {
    cost.bytes = std::max(cost.bytes, range.bytes);
    const RangePlan plan = PlanOf(work, range, fused.state_floats());
    for (const PhasePlan* phase : {&plan.coupling, &plan.moments, &plan.products, &plan.outputs}) {
      cost.flops += phase->flops * static_cast<double>(phase->pieces.size());
      cost.largest_piece_flops = std::max(cost.largest_piece_flops, phase->flops);
    }
  }
  return cost;
}

}  // namespace longwave
