#include "model/attention/routes/fft.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "model/attention/key_maximum.h"
#include "model/attention/phased_pass.h"
#include "model/attention/routes/exact_rows.h"
#include "model/attention/routes/fft_layout.h"
#include "model/attention/routes/fused_rows.h"
#include "model/attention/routes/tile.h"
#include "model/attention/rows.h"

namespace longwave {
namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Heads whose numbers are in the workspace together.
struct Group {
  int64_t first = 0;  // in context.heads
  std::vector<int64_t> heads;
  BoundFeatures features;

  int64_t size() const { return static_cast<int64_t>(heads.size()); }
};

template <typename T>
class FftPass final : public PhasedPass {
 public:
  FftPass(RouteContext context, FftCache* cache, std::atomic<int64_t>* rows_recomputed);
  absl::Status status() const override { return bad_rows_.status(); }
  int64_t ResidentBytes() const override { return layout_.bytes; }

 private:
  using Transform = cpu::ToeplitzTransform<T>;
  using Half = typename Transform::Half;

  void AddGroup(const Group& group);
  void AddFeatures(const Group& group, int64_t first, int64_t count);
  void MakeTransforms();
  void ComputeWeights(const Group& group, int64_t head, int64_t piece);
  void StartGroup(const Group& group);
  void MakeKernel(const Group& group, int64_t head, Half half);
  void KeepKernels(const Group& group);
  void GatherColumns(const Group& group, int64_t piece);
  void ComputeFeatures(const Group& group, int64_t first, int64_t count, int64_t piece);
  void Convolve(int64_t first_feature, int64_t count, int64_t head, int64_t pair);
  void FindLargest(const Group& group, int64_t piece);
  void Finish(const Group& group, int64_t piece);
  std::vector<int64_t> FlagRows(int64_t head, RowRange range) const;
  int64_t ExactPieces() const;
  void ComputeExact(const Group& group, int64_t piece);

  RowRange PieceRows(int64_t piece) const {
    return PaddedRange(piece * layout_.rows_per_piece,
                       std::min((piece + 1) * layout_.rows_per_piece, layout_.n));
  }
  // A row of a matrix of vectors of the transforms' length.
  T* Row(const at::Tensor& matrix, int64_t head, int64_t row) const {
    return matrix.data_ptr<T>() + (head * matrix.size(1) + row) * layout_.length;
  }
  cpu::ComplexSpan<T> Pair(const at::Tensor& columns, int64_t head, int64_t pair) const {
    return {Row(columns, head, 2 * pair), Row(columns, head, 2 * pair + 1)};
  }

  const RouteContext context_;
  FftCache& cache_;
  std::atomic<int64_t>& rows_recomputed_;
  const BoundFeatures features_;
  const FftLayout layout_;
  KeyMaximum key_maximum_;
  std::vector<Group> groups_;
  std::shared_ptr<const Transform> transform_;
  std::shared_ptr<const cpu::ToeplitzTransform<double>> exact_transform_;
  // By head of the group.
  std::vector<std::vector<double>> weights_;  // c(o), o = 1 - n .. n - 1
  std::vector<std::shared_ptr<const HeadKernels<T>>> kernels_;
  std::vector<char> kernels_are_new_;
  at::Tensor values_;      // [heads, 2 pairs, length]
  at::Tensor sums_;        // the same
  at::Tensor queries_;     // [heads, features of a group, length]
  at::Tensor keys_;        // the same
  at::Tensor row_maxima_;  // [heads, n, 1], if the features are stabilised
  // Denominators, by head of the group and piece of rows.
  std::vector<std::vector<double>> largest_;
  std::vector<std::vector<std::vector<int64_t>>> flagged_;
  BadRows bad_rows_;
};

template <typename T>
FftPass<T>::FftPass(RouteContext context, FftCache* cache, std::atomic<int64_t>* rows_recomputed)
    : context_(std::move(context)),
      cache_(*cache),
      rows_recomputed_(*rows_recomputed),
      features_(context_.layer->features.Bind(context_.heads, context_.precision)),
      layout_(MakeFftLayout(context_.layer->shape, context_.head_count(), context_.tokens(),
                            context_.precision)),
      key_maximum_(features_, context_) {
  const int64_t heads = layout_.heads_per_group;
  const at::TensorOptions options = context_.q.options().dtype(context_.precision);
  weights_.resize(heads);
  kernels_.resize(heads);
  kernels_are_new_.resize(heads);
  values_ = at::empty({heads, 2 * layout_.pairs, layout_.length}, options);
  sums_ = at::empty({heads, 2 * layout_.pairs, layout_.length}, options);
  queries_ = at::empty({heads, layout_.features_per_group, layout_.length}, options);
  keys_ = at::empty({heads, layout_.features_per_group, layout_.length}, options);
  if (features_.stabilised()) row_maxima_ = at::empty({heads, layout_.n, 1}, options);
  largest_.assign(heads, std::vector<double>(layout_.row_pieces()));
  flagged_.resize(heads, std::vector<std::vector<int64_t>>(layout_.row_pieces()));

  AddPhase(1, layout_.table_flops, [this](int64_t) { MakeTransforms(); });
  const int64_t maxima = KeyMaximum::Pieces(features_, layout_.n);
  const double row_flops = 2.0 * KeyMaximum::kRows *
                           static_cast<double>(context_.head_count() * features_.features()) *
                           static_cast<double>(context_.v.size(2));
  AddPhase(maxima, row_flops, [this](int64_t piece) { key_maximum_.Run(piece); });
  AddPhase(maxima > 0 ? 1 : 0, 0, [this](int64_t) { key_maximum_.Finish(); });
  for (int64_t first = 0; first < context_.head_count(); first += heads) {
    const int64_t end = std::min(first + heads, context_.head_count());
    std::vector<int64_t> members(context_.heads.begin() + first, context_.heads.begin() + end);
    BoundFeatures features = context_.layer->features.Bind(members, context_.precision);
    groups_.push_back({first, std::move(members), std::move(features)});
  }
  for (const Group& group : groups_) AddGroup(group);
}

template <typename T>
void FftPass<T>::AddGroup(const Group& group) {
  const int64_t heads = group.size();
  const int64_t offsets = layout_.offset_pieces();
  AddPhase(1, 0, [this, &group](int64_t) { StartGroup(group); });
  AddPhase(heads * offsets, layout_.weight_flops, [this, &group, offsets](int64_t piece) {
    ComputeWeights(group, piece / offsets, piece % offsets);
  });
  AddPhase(2 * heads, layout_.kernel_flops, [this, &group](int64_t piece) {
    MakeKernel(group, piece / 2, piece % 2 == 0 ? Half::kEven : Half::kOdd);
  });
  AddPhase(1, 0, [this, &group](int64_t) { KeepKernels(group); });
  AddPhase(layout_.row_pieces(), layout_.moved_flops,
           [this, &group](int64_t piece) { GatherColumns(group, piece); });
  for (int64_t first = 0; first < features_.features(); first += layout_.features_per_group) {
    AddFeatures(group, first, std::min(layout_.features_per_group, features_.features() - first));
  }
  AddPhase(layout_.row_pieces(), 0, [this, &group](int64_t piece) { FindLargest(group, piece); });
  AddPhase(layout_.row_pieces(), layout_.moved_flops,
           [this, &group](int64_t piece) { Finish(group, piece); });
  AddCountedPhase([this] { return ExactPieces(); }, layout_.exact_flops,
                  [this, &group](int64_t piece) { ComputeExact(group, piece); });
}

template <typename T>
void FftPass<T>::AddFeatures(const Group& group, int64_t first, int64_t count) {
  const int64_t heads = group.size();
  AddPhase(layout_.row_pieces(), layout_.map_flops, [this, &group, first, count](int64_t piece) {
    ComputeFeatures(group, first, count, piece);
  });
  for (int64_t part = 0; part < count; part += layout_.features_per_phase) {
    const int64_t part_count = std::min(layout_.features_per_phase, count - part);
    AddPhase(heads * layout_.pairs, layout_.pair_flops * static_cast<double>(part_count),
             [this, part, part_count](int64_t piece) {
               Convolve(part, part_count, piece / layout_.pairs, piece % layout_.pairs);
             });
  }
}

template <typename T>
void FftPass<T>::MakeTransforms() {
  transform_ = cache_.Transform<T>(layout_.n);
  exact_transform_ = cache_.Transform<double>(layout_.n);
}

template <typename T>
void FftPass<T>::StartGroup(const Group& group) {
  for (auto& head : flagged_) {
    for (std::vector<int64_t>& rows : head) rows.clear();
  }
  for (int64_t h = 0; h < group.size(); ++h) {
    weights_[h].resize(2 * layout_.n - 1);
    kernels_[h] = cache_.FindKernels<T>(group.heads[h], layout_.n);
    kernels_are_new_[h] = kernels_[h] == nullptr;
    if (kernels_are_new_[h]) kernels_[h] = std::make_shared<const HeadKernels<T>>(layout_.length);
  }
}

template <typename T>
void FftPass<T>::ComputeWeights(const Group& group, int64_t head, int64_t piece) {
  const int64_t first = piece * kFftOffsets;
  const int64_t end = std::min(first + kFftOffsets, 2 * layout_.n - 1);
  const std::vector<double> c = context_.layer->weights.Range(
      static_cast<int>(group.heads[head]), first - (layout_.n - 1), end - layout_.n);
  std::copy(c.begin(), c.end(), weights_[head].begin() + first);
}

template <typename T>
void FftPass<T>::MakeKernel(const Group& group, int64_t head, Half half) {
  if (!kernels_are_new_[head]) return;
  transform_->MakeKernel(half, weights_[head], *exact_transform_, kernels_[head]->half(half));
}

template <typename T>
void FftPass<T>::KeepKernels(const Group& group) {
  for (int64_t h = 0; h < group.size(); ++h) {
    if (kernels_are_new_[h]) cache_.KeepKernels<T>(group.heads[h], layout_.n, kernels_[h]);
  }
}

template <typename T>
void FftPass<T>::GatherColumns(const Group& group, int64_t piece) {
  const RowRange range = PieceRows(piece);
  const bool last = range.begin + range.count == layout_.n;
  const int64_t end = last ? layout_.length : range.begin + range.count;
  at::Tensor values = values_.narrow(0, 0, group.size()).slice(2, range.begin, end);
  // The last pair's partner and what lies beyond the sequence.
  if (layout_.columns % 2 != 0) values.select(1, layout_.columns).zero_();
  values.slice(2, range.count).zero_();
  sums_.narrow(0, 0, group.size()).slice(2, range.begin, end).zero_();
  const at::Tensor rows = GatherValues(context_.v, group.heads, range, context_.precision);
  values.narrow(1, 0, layout_.columns)
      .narrow(2, 0, range.count)
      .copy_(rows.narrow(1, 0, range.count).transpose(1, 2));
  if (!features_.stabilised()) return;
  row_maxima_.narrow(0, 0, group.size())
      .narrow(1, range.begin, range.count)
      .copy_(group.features
                 .QueryMaximum(GatherRows(context_.q, group.heads, range, context_.precision))
                 .narrow(1, 0, range.count));
}

template <typename T>
void FftPass<T>::ComputeFeatures(const Group& group, int64_t first, int64_t count, int64_t piece) {
  const RowRange range = PieceRows(piece);
  const bool last = range.begin + range.count == layout_.n;
  const int64_t heads = group.size();
  const BoundFeatures features = group.features.Slice(first, count);
  const auto store = [&](const at::Tensor& phi, at::Tensor& matrix) {
    at::Tensor target =
        matrix.narrow(0, 0, heads)
            .narrow(1, 0, count)
            .slice(2, range.begin, last ? layout_.length : range.begin + range.count);
    target.slice(2, range.count).zero_();
    target.narrow(2, 0, range.count).copy_(phi.narrow(1, 0, range.count).transpose(1, 2));
  };
  at::Tensor key_maximum;
  at::Tensor row_maximum;
  RowRange rows = range;
  if (features.stabilised()) {
    key_maximum = key_maximum_.Value().narrow(0, group.first, heads);
    row_maximum = row_maxima_.narrow(0, 0, heads).narrow(1, range.begin, range.count);
    rows.padded = rows.count;  // as many rows as there are maxima
  }
  const auto gather = [&](const at::Tensor& source) {
    return GatherRows(source, group.heads, rows, context_.precision);
  };
  store(features.Keys(gather(context_.k), key_maximum), keys_);
  store(features.Queries(gather(context_.q), row_maximum), queries_);
}

// The odd half's modulations, a pass each over values and sums, are shared by all its features.
template <typename T>
void FftPass<T>::Convolve(int64_t first_feature, int64_t count, int64_t head, int64_t pair) {
  const int64_t length = layout_.length;
  T* const scratch = reinterpret_cast<T*>(
      cpu::ThreadScratch(6 * length * static_cast<int64_t>(sizeof(T) / sizeof(float))));
  const auto part = [&](int64_t index) {
    return cpu::ComplexSpan<T>{scratch + 2 * index * length, scratch + (2 * index + 1) * length};
  };
  const cpu::ComplexSpan<T> work = part(0), modulated = part(1), odd_sums = part(2);
  const cpu::ComplexSpan<T> values = Pair(values_, head, pair);
  const cpu::ComplexSpan<T> sums = Pair(sums_, head, pair);
  const auto run = [&](Half half, cpu::ComplexSpan<const T> from, cpu::ComplexSpan<T> to) {
    for (int64_t r = first_feature; r < first_feature + count; ++r) {
      transform_->Accumulate({.keys = Row(keys_, head, r),
                              .queries = Row(queries_, head, r),
                              .values = from,
                              .kernel = kernels_[head]->half(half),
                              .work = work,
                              .sums = to});
    }
  };
  run(Half::kEven, values, sums);
  transform_->Modulate(values, modulated);
  std::fill(odd_sums.re, odd_sums.re + 2 * length, T{0});
  run(Half::kOdd, modulated, odd_sums);
  transform_->AddDemodulated(odd_sums, sums);
}

// NaN if there is one.
template <typename T>
void FftPass<T>::FindLargest(const Group& group, int64_t piece) {
  const RowRange range = PieceRows(piece);
  for (int64_t h = 0; h < group.size(); ++h) {
    const T* const denominators = Row(sums_, h, layout_.columns - 1) + range.begin;
    double largest = 0;
    for (int64_t i = 0; i < range.count && !std::isnan(largest); ++i) {
      if (!(denominators[i] <= largest)) largest = denominators[i];
    }
    largest_[h][piece] = largest;
  }
}

template <typename T>
std::vector<int64_t> FftPass<T>::FlagRows(int64_t head, RowRange range) const {
  std::vector<int64_t> rows;
  double largest = 0;
  for (const double part : largest_[head]) {
    if (!(part <= largest)) largest = part;
  }
  // Keys that no other arithmetic would make finite either.
  if (!std::isfinite(largest)) return rows;
  const double least = CpuFft::kLeastDenominator * largest *
                       static_cast<double>(std::numeric_limits<T>::epsilon()) / 2;
  const T* const denominators = Row(sums_, head, layout_.columns - 1);
  for (int64_t i = range.begin; i < range.begin + range.count; ++i) {
    if (!(denominators[i] > 0 && denominators[i] >= least)) rows.push_back(i);
  }
  return rows;
}

// Rows that are flagged keep their queries, which may lie where the output does.
template <typename T>
void FftPass<T>::Finish(const Group& group, int64_t piece) {
  const RowRange range = PieceRows(piece);
  const int64_t heads = group.size();
  const at::Tensor sums = sums_.narrow(0, 0, heads)
                              .narrow(1, 0, layout_.columns)
                              .narrow(2, range.begin, range.count)
                              .transpose(1, 2)
                              .contiguous();
  const at::Tensor z = Quotient(sums);
  bool any = false;
  for (int64_t h = 0; h < heads; ++h) {
    flagged_[h][piece] = FlagRows(h, range);
    any = any || !flagged_[h][piece].empty();
  }
  if (!any) {
    bad_rows_.Add(NonFiniteRows(z));
    return ScatterRows(z, group.heads, range, context_.out);
  }
  for (int64_t h = 0; h < heads; ++h) {
    int64_t first = range.begin;
    const auto write_until = [&](int64_t end) {
      if (end > first) {
        bad_rows_.Add(NonFiniteRows(z.select(0, h).narrow(0, first - range.begin, end - first)));
        context_.out.select(1, group.heads[h])
            .narrow(0, first, end - first)
            .copy_(z.select(0, h).narrow(0, first - range.begin, end - first));
      }
      first = end + 1;
    };
    for (const int64_t row : flagged_[h][piece]) write_until(row);
    write_until(range.begin + range.count);
  }
}

template <typename T>
int64_t FftPass<T>::ExactPieces() const {
  int64_t pieces = 0;
  for (const auto& head : flagged_) {
    for (const std::vector<int64_t>& rows : head) {
      pieces += CeilDiv(static_cast<int64_t>(rows.size()), kFftExactRows);
    }
  }
  return pieces;
}

template <typename T>
void FftPass<T>::ComputeExact(const Group& group, int64_t piece) {
  for (int64_t h = 0; h < group.size(); ++h) {
    for (const std::vector<int64_t>& rows : flagged_[h]) {
      const int64_t count = static_cast<int64_t>(rows.size());
      const int64_t pieces = CeilDiv(count, kFftExactRows);
      if (piece >= pieces) {
        piece -= pieces;
        continue;
      }
      const int64_t first = piece * kFftExactRows;
      const auto part =
          absl::MakeConstSpan(rows).subspan(first, std::min(kFftExactRows, count - first));
      const at::Tensor maximum = key_maximum_.Value().defined()
                                     ? key_maximum_.Value().narrow(0, group.first + h, 1)
                                     : at::Tensor();
      bad_rows_.Add(ComputeExactRows(context_, group.first + h, part, weights_[h], maximum));
      rows_recomputed_.fetch_add(static_cast<int64_t>(part.size()), std::memory_order_relaxed);
      return;
    }
  }
}

}  // namespace

std::unique_ptr<AttentionPass> CpuFft::Begin(RouteContext context) const {
  if (context.precision == at::kDouble) {
    return std::make_unique<FftPass<double>>(std::move(context), &cache_, &rows_recomputed_);
  }
  return std::make_unique<FftPass<float>>(std::move(context), &cache_, &rows_recomputed_);
}

}  // namespace longwave
