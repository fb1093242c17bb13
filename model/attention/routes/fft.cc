#include "model/attention/routes/fft.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "model/attention/key_maximum.h"
#include "model/attention/phased_pass.h"
#include "model/attention/routes/tile.h"
#include "model/attention/rows.h"

namespace longwave {
namespace {

// Transforms of one piece that are alive at once. Batches of 4 to 16 ran two to four times as fast
// as single ones as long as they stayed in the third-level cache.
constexpr int64_t kBatchBytes = int64_t{8} << 20;
constexpr int64_t kLeastBatch = 4;
// What the groups of heads and features are cut by. One head always fits.
constexpr int64_t kWorkspaceBytes = int64_t{512} << 20;
constexpr int64_t kRows = 4096;  // of one piece that gathers or scatters

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct Layout {
  int64_t n = 0;
  int64_t length = 0;   // of the transforms
  int64_t columns = 0;  // head_dim + 1
  int64_t columns_per_piece = 0;
  int64_t column_groups = 0;
  int64_t heads_per_group = 0;
  int64_t features_per_group = 0;  // phi is kept for
  int64_t features_per_phase = 0;  // one piece runs through
  double channel_flops = 0;        // one feature, one column
  double spectrum_flops = 0;       // of one head
  int64_t bytes = 0;

  int64_t row_pieces() const { return CeilDiv(n, kRows); }
};

Layout MakeLayout(const AttentionShape& shape, int64_t heads, int64_t n, at::ScalarType type) {
  const int64_t element = type == at::kDouble ? 8 : 4;
  Layout layout;
  layout.n = n;
  layout.length = FastTransformLength(2 * n - 1);
  layout.columns = shape.head_dim + 1;
  // Padded input, spectrum, result and the library's copy of the spectrum: 4 numbers a position.
  const int64_t batch =
      std::clamp(kBatchBytes / (4 * element * layout.length), kLeastBatch, layout.columns);
  layout.column_groups = CeilDiv(layout.columns, batch);
  layout.columns_per_piece = CeilDiv(layout.columns, layout.column_groups);
  layout.column_groups = CeilDiv(layout.columns, layout.columns_per_piece);

  const int64_t feature_bytes = 2 * n * element;  // of queries and keys
  layout.features_per_group =
      std::clamp<int64_t>(kWorkspaceBytes / 4 / feature_bytes, 1, shape.features);
  const int64_t head_bytes = n * element * 2 * layout.columns + element * (layout.length + 2) +
                             layout.features_per_group * feature_bytes;
  layout.heads_per_group = std::clamp<int64_t>(kWorkspaceBytes / head_bytes, 1, heads);
  layout.bytes = layout.heads_per_group * head_bytes;

  layout.channel_flops =
      TransformFlops(shape.device, type == at::kDouble ? Precision::kFp64 : Precision::kFp32, n) *
      static_cast<double>(n);
  // Exponentials in double and one transform of twice the length in double.
  layout.spectrum_flops = 5e3 * static_cast<double>(n);
  const double feature_flops = layout.channel_flops * static_cast<double>(layout.columns_per_piece);
  layout.features_per_phase = std::clamp<int64_t>(static_cast<int64_t>(kPieceFlops / feature_flops),
                                                  1, layout.features_per_group);
  return layout;
}

class FftPass final : public PhasedPass {
 public:
  explicit FftPass(RouteContext context);
  int64_t ResidentBytes() const override { return layout_.bytes; }

 private:
  // Heads whose numbers are in the workspace together.
  struct Group {
    int64_t first = 0;  // in context_.heads
    std::vector<int64_t> heads;
    BoundFeatures features;
  };

  void AddGroup(const Group& group);
  void AddFeatures(const Group& group, int64_t first, int64_t count);
  void ComputeSpectrum(const Group& group, int64_t head);
  void GatherValueColumns(const Group& group, int64_t piece);
  void ComputeFeatures(const Group& group, int64_t first, int64_t count, int64_t piece);
  void Convolve(int64_t first_feature, int64_t count, int64_t head, int64_t column_group);
  void Finish(const Group& group, int64_t piece);
  RowRange PieceRows(int64_t piece) const {
    return PaddedRange(piece * kRows, std::min((piece + 1) * kRows, layout_.n));
  }

  const RouteContext context_;
  const BoundFeatures features_;
  const Layout layout_;
  KeyMaximum key_maximum_;
  std::vector<Group> groups_;
  // [heads of a group, ...]
  at::Tensor spectra_;     // [length / 2 + 1], complex
  at::Tensor values_;      // [columns, n]
  at::Tensor sums_;        // [columns, n]
  at::Tensor queries_;     // [features of a group, n]
  at::Tensor keys_;        // [features of a group, n]
  at::Tensor row_maxima_;  // [n, 1], if the features are stabilised
};

FftPass::FftPass(RouteContext context)
    : context_(std::move(context)),
      features_(context_.layer->features.Bind(context_.heads, context_.precision)),
      layout_(MakeLayout(context_.layer->shape, context_.head_count(), context_.tokens(),
                         context_.precision)),
      key_maximum_(features_, context_) {
  const int64_t heads = layout_.heads_per_group;
  const int64_t n = layout_.n;
  const at::TensorOptions options = context_.q.options().dtype(context_.precision);
  spectra_ = at::empty({heads, layout_.length / 2 + 1},
                       options.dtype(at::toComplexType(context_.precision)));
  values_ = at::empty({heads, layout_.columns, n}, options);
  sums_ = at::empty({heads, layout_.columns, n}, options);
  queries_ = at::empty({heads, layout_.features_per_group, n}, options);
  keys_ = at::empty({heads, layout_.features_per_group, n}, options);
  if (features_.stabilised()) row_maxima_ = at::empty({heads, n, 1}, options);

  const int64_t maxima = KeyMaximum::Pieces(features_, n);
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

void FftPass::AddGroup(const Group& group) {
  const int64_t heads = static_cast<int64_t>(group.heads.size());
  AddPhase(heads, layout_.spectrum_flops,
           [this, &group](int64_t head) { ComputeSpectrum(group, head); });
  const double gathered =
      kFlopsPerByte * 8 * static_cast<double>(std::min(kRows, layout_.n) * heads * layout_.columns);
  AddPhase(layout_.row_pieces(), gathered,
           [this, &group](int64_t piece) { GatherValueColumns(group, piece); });
  for (int64_t first = 0; first < features_.features(); first += layout_.features_per_group) {
    AddFeatures(group, first, std::min(layout_.features_per_group, features_.features() - first));
  }
  AddPhase(layout_.row_pieces(), gathered, [this, &group](int64_t piece) { Finish(group, piece); });
}

void FftPass::AddFeatures(const Group& group, int64_t first, int64_t count) {
  const int64_t heads = static_cast<int64_t>(group.heads.size());
  const double map_flops = 4.0 * static_cast<double>(std::min(kRows, layout_.n) * heads * count) *
                           static_cast<double>(context_.v.size(2));
  AddPhase(layout_.row_pieces(), map_flops, [this, &group, first, count](int64_t piece) {
    ComputeFeatures(group, first, count, piece);
  });
  for (int64_t part = 0; part < count; part += layout_.features_per_phase) {
    const int64_t part_count = std::min(layout_.features_per_phase, count - part);
    AddPhase(heads * layout_.column_groups,
             layout_.channel_flops * static_cast<double>(layout_.columns_per_piece * part_count),
             [this, part, part_count](int64_t piece) {
               Convolve(part, part_count, piece / layout_.column_groups,
                        piece % layout_.column_groups);
             });
  }
}

// out_i = sum_j c(j - i) x_j = sum_j h(i - j) x_j with h(t) = c(-t): a correlation with c.
void FftPass::ComputeSpectrum(const Group& group, int64_t head) {
  const ToeplitzWeights& weights = context_.layer->weights;
  const int layer_head = static_cast<int>(group.heads[head]);
  const std::vector<double> c = weights.Range(layer_head, 1 - layout_.n, layout_.n - 1);
  std::vector<double> h(layout_.length, 0);
  for (int64_t t = 0; t < layout_.n; ++t) {
    h[t] = c[layout_.n - 1 - t];
    if (t > 0) h[layout_.length - t] = c[layout_.n - 1 + t];
  }
  spectra_.select(0, head).copy_(at::fft_rfft(at::tensor(h, at::kDouble)));
  sums_.select(0, head).zero_();
}

void FftPass::GatherValueColumns(const Group& group, int64_t piece) {
  const RowRange range = PieceRows(piece);
  const int64_t heads = static_cast<int64_t>(group.heads.size());
  const at::Tensor rows = GatherValues(context_.v, group.heads, range, context_.precision);
  values_.narrow(0, 0, heads)
      .narrow(2, range.begin, range.count)
      .copy_(rows.narrow(1, 0, range.count).transpose(1, 2));
  if (!features_.stabilised()) return;
  row_maxima_.narrow(0, 0, heads)
      .narrow(1, range.begin, range.count)
      .copy_(group.features
                 .QueryMaximum(GatherRows(context_.q, group.heads, range, context_.precision))
                 .narrow(1, 0, range.count));
}

void FftPass::ComputeFeatures(const Group& group, int64_t first, int64_t count, int64_t piece) {
  const RowRange range = PieceRows(piece);
  const int64_t heads = static_cast<int64_t>(group.heads.size());
  const BoundFeatures features = group.features.Slice(first, count);
  const auto store = [&](const at::Tensor& phi, at::Tensor& target) {
    target.narrow(0, 0, heads)
        .narrow(1, 0, count)
        .narrow(2, range.begin, range.count)
        .copy_(phi.narrow(1, 0, range.count).transpose(1, 2));
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

void FftPass::Convolve(int64_t first_feature, int64_t count, int64_t head, int64_t column_group) {
  const int64_t n = layout_.n;
  const int64_t first = column_group * layout_.columns_per_piece;
  const int64_t columns = std::min(layout_.columns_per_piece, layout_.columns - first);
  const at::Tensor values = values_.select(0, head).narrow(0, first, columns);
  at::Tensor sums = sums_.select(0, head).narrow(0, first, columns);
  at::Tensor padded = at::zeros({columns, layout_.length}, values.options());
  at::Tensor present = padded.narrow(1, 0, n);
  for (int64_t r = first_feature; r < first_feature + count; ++r) {
    at::mul_out(present, values, keys_.select(0, head).narrow(0, r, 1));
    at::Tensor spectrum = at::fft_rfft(padded);
    spectrum.mul_(spectra_.select(0, head));
    const at::Tensor product = at::fft_irfft(spectrum, layout_.length);
    sums.addcmul_(product.narrow(1, 0, n), queries_.select(0, head).narrow(0, r, 1));
  }
}

void FftPass::Finish(const Group& group, int64_t piece) {
  const RowRange range = PieceRows(piece);
  const int64_t heads = static_cast<int64_t>(group.heads.size());
  const at::Tensor sums =
      sums_.narrow(0, 0, heads).narrow(2, range.begin, range.count).transpose(1, 2).contiguous();
  ScatterRows(Quotient(sums), group.heads, range, context_.out);
}

}  // namespace

int64_t FastTransformLength(int64_t length) {
  int64_t power = 1;
  while (7 * power < length) power *= 2;
  for (const int64_t factor : {4, 5, 6}) {
    if (factor * power >= length) return factor * power;
  }
  return 7 * power;
}

std::unique_ptr<AttentionPass> MakeFftPass(RouteContext context) {
  return std::make_unique<FftPass>(std::move(context));
}

AttentionCost FftCost(const AttentionShape& shape, int64_t heads, int64_t n, at::ScalarType type) {
  const Layout layout = MakeLayout(shape, heads, n, type);
  AttentionCost cost;
  cost.flops = static_cast<double>(heads) *
               (layout.channel_flops * static_cast<double>(shape.features * layout.columns) +
                layout.spectrum_flops);
  cost.largest_piece_flops = layout.channel_flops * static_cast<double>(layout.columns_per_piece *
                                                                        layout.features_per_phase);
  cost.bytes = layout.bytes;
  return cost;
}

}  // namespace longwave
