#include "model/attention/routes/fft_pairs.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "model/attention/key_maximum.h"
#include "model/attention/phased_pass.h"
#include "model/attention/routes/exact_rows.h"
#include "model/attention/routes/fft.h"
#include "model/attention/rows.h"

namespace longwave {
namespace {

// Of one piece that gathers rows or maps features.
constexpr int64_t kRows = 16384;
// Flagged rows that are computed at once.
constexpr size_t kExactRows = 256;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Every batch of a length is of one size, so that one plan serves them all.
int64_t LargestDivisor(int64_t number, int64_t limit) {
  for (int64_t divisor = std::clamp<int64_t>(limit, 1, number); divisor > 1; --divisor) {
    if (number % divisor == 0) return divisor;
  }
  return 1;
}

struct Layout {
  int64_t n = 0;
  int64_t length = 0;
  int64_t columns = 0;             // of [v | 1]
  int64_t pairs = 0;               // of columns
  int64_t pairs_per_batch = 0;     // a divisor of pairs
  int64_t features_per_batch = 0;  // a divisor of features_kept; 1 unless all pairs fit
  int64_t features_kept = 0;       // a divisor of features
  double batch_flops = 0;          // all pairs, one batch of features
  double spectrum_flops = 0;
  int64_t bytes = 0;

  int64_t row_pieces() const { return CeilDiv(n, kRows); }
};

// Batches depend on the length of the transforms, not on n.
Layout MakeLayout(const AttentionShape& shape, int64_t n, at::ScalarType type,
                  const FftPairsLimits& limits) {
  const int64_t element = type == at::kDouble ? 8 : 4;
  Layout layout;
  layout.n = n;
  layout.length = BucketOf(n).length;
  layout.columns = shape.head_dim + 1;
  layout.pairs = CeilDiv(layout.columns, 2);
  const int64_t channels = limits.product_bytes / (2 * element * layout.length);
  layout.pairs_per_batch = LargestDivisor(layout.pairs, channels);
  layout.features_per_batch = layout.pairs_per_batch == layout.pairs
                                  ? LargestDivisor(shape.features, channels / layout.pairs)
                                  : 1;
  const int64_t groups = limits.feature_bytes / (2 * n * element * layout.features_per_batch);
  layout.features_kept = layout.features_per_batch *
                         LargestDivisor(shape.features / layout.features_per_batch, groups);
  layout.batch_flops =
      TransformFlops(shape.device, type == at::kDouble ? Precision::kFp64 : Precision::kFp32, n) *
      static_cast<double>(n * layout.columns * layout.features_per_batch);
  // Exponentials on the host, if they are not there yet.
  layout.spectrum_flops = 1e3 * static_cast<double>(n);
  layout.bytes =
      element * (2 * layout.length * layout.pairs_per_batch * layout.features_per_batch +
                 4 * layout.pairs * n + 2 * layout.features_kept * n + 2 * layout.length + n);
  return layout;
}

class FftPairsPass final : public PhasedPass {
 public:
  FftPairsPass(RouteContext context, Layout layout, std::shared_ptr<FftDevice> device,
               std::shared_ptr<FftSpectra> spectra, std::atomic<int64_t>* rows_recomputed);
  int64_t ResidentBytes() const override { return layout_.bytes; }

 private:
  // What is in the workspace is one head's.
  struct Head {
    int64_t index = 0;        // in context_.heads
    std::vector<int64_t> id;  // in the layer: one number, as the gathering functions take it
    BoundFeatures features;
  };

  void AddHead(const Head& head);
  void Begin(const Head& head);
  void GatherValueColumns(const Head& head, int64_t piece);
  void ComputeFeatures(const Head& head, int64_t first, int64_t piece);
  void Convolve(int64_t first_feature);
  std::vector<int64_t> FlaggedRows() const;
  void ComputeFlaggedRows(const Head& head, const std::vector<int64_t>& rows) const;
  void Finish(const Head& head);
  RowRange PieceRows(int64_t piece) const {
    return PaddedRange(piece * kRows, std::min((piece + 1) * kRows, layout_.n));
  }

  const RouteContext context_;
  const Layout layout_;
  const std::shared_ptr<FftDevice> device_;
  const std::shared_ptr<FftSpectra> spectra_;
  std::atomic<int64_t>* const rows_recomputed_;
  const BoundFeatures features_;
  KeyMaximum key_maximum_;
  std::vector<Head> heads_;
  at::Tensor spectrum_;    // [length], complex
  at::Tensor values_;      // [pairs, n], complex; an odd last column has a zero beside it
  at::Tensor sums_;        // [pairs, n], complex
  at::Tensor products_;    // [channels of a batch, length], complex
  at::Tensor queries_;     // [features kept, n]
  at::Tensor keys_;        // [features kept, n]
  at::Tensor row_maxima_;  // [1, n, 1], if the features are stabilised
};

FftPairsPass::FftPairsPass(RouteContext context, Layout layout, std::shared_ptr<FftDevice> device,
                           std::shared_ptr<FftSpectra> spectra,
                           std::atomic<int64_t>* rows_recomputed)
    : context_(std::move(context)),
      layout_(layout),
      device_(std::move(device)),
      spectra_(std::move(spectra)),
      rows_recomputed_(rows_recomputed),
      features_(context_.layer->features.Bind(context_.heads, context_.precision)),
      key_maximum_(features_, context_) {
  const at::TensorOptions real = context_.q.options().dtype(context_.precision);
  const at::TensorOptions complex = real.dtype(at::toComplexType(context_.precision));
  values_ = at::zeros({layout_.pairs, layout_.n}, complex);
  sums_ = at::empty({layout_.pairs, layout_.n}, complex);
  products_ =
      at::empty({layout_.features_per_batch * layout_.pairs_per_batch, layout_.length}, complex);
  queries_ = at::empty({layout_.features_kept, layout_.n}, real);
  keys_ = at::empty({layout_.features_kept, layout_.n}, real);
  if (features_.stabilised()) row_maxima_ = at::empty({1, layout_.n, 1}, real);

  const int64_t maxima = KeyMaximum::Pieces(features_, layout_.n);
  AddPhase(maxima,
           2.0 * KeyMaximum::kRows *
               static_cast<double>(context_.head_count() * features_.features()) *
               static_cast<double>(context_.v.size(2)),
           [this](int64_t piece) { key_maximum_.Run(piece); });
  AddPhase(maxima > 0 ? 1 : 0, 0, [this](int64_t) { key_maximum_.Finish(); });
  for (int64_t h = 0; h < context_.head_count(); ++h) {
    std::vector<int64_t> id = {context_.heads[h]};
    BoundFeatures features = context_.layer->features.Bind(id, context_.precision);
    heads_.push_back({h, std::move(id), std::move(features)});
  }
  for (const Head& head : heads_) AddHead(head);
}

// Batches of one head share the workspace and add to one sum: each is a phase of one piece.
void FftPairsPass::AddHead(const Head& head) {
  const double rows = static_cast<double>(std::min(kRows, layout_.n));
  const double map_flops = 4.0 * rows * static_cast<double>(layout_.features_kept) *
                           static_cast<double>(context_.v.size(2));
  const double moved = kFlopsPerByte * 8 * rows * static_cast<double>(layout_.columns);
  AddPhase(1, layout_.spectrum_flops, [this, &head](int64_t) { Begin(head); });
  AddPhase(layout_.row_pieces(), moved,
           [this, &head](int64_t piece) { GatherValueColumns(head, piece); });
  for (int64_t first = 0; first < features_.features(); first += layout_.features_kept) {
    AddPhase(layout_.row_pieces(), map_flops,
             [this, &head, first](int64_t piece) { ComputeFeatures(head, first, piece); });
    for (int64_t part = 0; part < layout_.features_kept; part += layout_.features_per_batch) {
      AddPhase(1, layout_.batch_flops, [this, part](int64_t) { Convolve(part); });
    }
  }
  AddPhase(1, moved * static_cast<double>(layout_.row_pieces()),
           [this, &head](int64_t) { Finish(head); });
}

void FftPairsPass::Begin(const Head& head) {
  spectrum_ = spectra_->Get(static_cast<int>(head.id.front()), layout_.n, context_.precision);
  sums_.zero_();
}

void FftPairsPass::GatherValueColumns(const Head& head, int64_t piece) {
  const RowRange range = PieceRows(piece);
  const at::Tensor rows = GatherValues(context_.v, head.id, range, context_.precision)
                              .select(0, 0)
                              .narrow(0, 0, range.count);
  const at::Tensor parts = at::view_as_real(values_);
  for (const int64_t part : {0, 1}) {
    const at::Tensor columns = rows.slice(1, part, layout_.columns, 2).t();
    parts.select(2, part)
        .narrow(0, 0, columns.size(0))
        .narrow(1, range.begin, range.count)
        .copy_(columns);
  }
  if (!features_.stabilised()) return;
  row_maxima_.narrow(1, range.begin, range.count)
      .copy_(head.features.QueryMaximum(GatherRows(context_.q, head.id, range, context_.precision))
                 .narrow(1, 0, range.count));
}

void FftPairsPass::ComputeFeatures(const Head& head, int64_t first, int64_t piece) {
  RowRange range = PieceRows(piece);
  const BoundFeatures features = head.features.Slice(first, layout_.features_kept);
  at::Tensor key_maximum;
  at::Tensor row_maximum;
  if (features.stabilised()) {
    key_maximum = key_maximum_.Value().narrow(0, head.index, 1);
    row_maximum = row_maxima_.narrow(1, range.begin, range.count);
    range.padded = range.count;  // as many rows as there are maxima
  }
  const auto gather = [&](const at::Tensor& source) {
    return GatherRows(source, head.id, range, context_.precision);
  };
  const auto store = [&](const at::Tensor& phi, const at::Tensor& target) {
    target.narrow(1, range.begin, range.count)
        .copy_(phi.select(0, 0).narrow(0, 0, range.count).t());
  };
  store(features.Keys(gather(context_.k), key_maximum), keys_);
  store(features.Queries(gather(context_.q), row_maximum), queries_);
}

void FftPairsPass::Convolve(int64_t first_feature) {
  const at::Tensor keys = keys_.narrow(0, first_feature, layout_.features_per_batch);
  const at::Tensor queries = queries_.narrow(0, first_feature, layout_.features_per_batch);
  const at::Tensor grouped =
      products_.view({layout_.features_per_batch, layout_.pairs_per_batch, layout_.length});
  for (int64_t pair = 0; pair < layout_.pairs; pair += layout_.pairs_per_batch) {
    device_->FormProducts(keys, values_.narrow(0, pair, layout_.pairs_per_batch), grouped);
    device_->Transform(products_, /*inverse=*/false);
    device_->MultiplySpectrum(spectrum_, products_);
    device_->Transform(products_, /*inverse=*/true);
    device_->Contract(grouped, queries, sums_.narrow(0, pair, layout_.pairs_per_batch));
  }
}

// Rows whose denominator is lost in the transforms' rounding, beside the largest of the head. None
// if no denominator is finite: then the inputs were not.
std::vector<int64_t> FftPairsPass::FlaggedRows() const {
  const int64_t column = layout_.columns - 1;
  const at::Tensor denominators =
      at::view_as_real(sums_).select(0, column / 2).select(1, column % 2);
  const double unit = context_.precision == at::kDouble ? 0x1p-53 : 0x1p-24;
  const at::Tensor finite = at::isfinite(denominators);
  const at::Tensor largest = at::max(at::where(finite, denominators, at::zeros_like(denominators)));
  const at::Tensor sound =
      finite.logical_and(denominators > 0)
          .logical_and_(denominators >= largest * (CpuFft::kLeastDenominator * unit));
  const at::Tensor flagged =
      at::nonzero(sound.logical_not().logical_and_(largest > 0)).view({-1}).to(at::kCPU);
  return {flagged.const_data_ptr<int64_t>(), flagged.const_data_ptr<int64_t>() + flagged.numel()};
}

void FftPairsPass::ComputeFlaggedRows(const Head& head, const std::vector<int64_t>& rows) const {
  const std::vector<double> c = context_.layer->weights.Range(static_cast<int>(head.id.front()),
                                                              1 - layout_.n, layout_.n - 1);
  const at::Tensor maximum =
      features_.stabilised() ? key_maximum_.Value().narrow(0, head.index, 1) : at::Tensor();
  for (size_t first = 0; first < rows.size(); first += kExactRows) {
    ComputeExactRows(context_, head.index, absl::MakeConstSpan(rows).subspan(first, kExactRows), c,
                     maximum);
  }
}

// The output may lie where q lay, so flagged rows come first and are kept from the quotients.
void FftPairsPass::Finish(const Head& head) {
  const at::Tensor out = context_.out.select(1, head.id.front());
  const std::vector<int64_t> rows = FlaggedRows();
  if (rows.empty()) return device_->Divide(sums_, out);
  ComputeFlaggedRows(head, rows);
  const at::Tensor index = at::tensor(rows, at::kLong).to(out.device());
  const at::Tensor exact = at::index_select(out, 0, index);
  device_->Divide(sums_, out);
  out.index_copy_(0, index, exact);
  rows_recomputed_->fetch_add(static_cast<int64_t>(rows.size()), std::memory_order_relaxed);
}

}  // namespace

FftPairs::FftPairs(const LayerState* layer, std::shared_ptr<FftDevice> device,
                   FftPairsLimits limits)
    : layer_(*layer),
      device_(std::move(device)),
      limits_(limits),
      spectra_(std::make_shared<FftSpectra>(layer, device_, limits.spectrum_bytes)) {}

// Plans are asked for where the fingerprint asks too: row sums of long sequences take a while and
// are remembered.
void FftPairs::Prepare(int64_t longest,
                       const std::function<std::vector<int64_t>(int64_t n)>& heads_at) const {
  for (int64_t begin = 1; begin < longest; begin *= 2) {
    const int64_t end = std::min(2 * begin, longest);
    for (const int64_t head : heads_at(end)) PrepareHead(static_cast<int>(head), begin + 1, end);
  }
}

// For sequences of `first` to `last` tokens, in the precision of the last.
void FftPairs::PrepareHead(int head, int64_t first, int64_t last) const {
  const Precision precision =
      FftPrecision(layer_.weights.RowSumRatio(head, last), layer_.shape.normalised);
  if (precision == Precision::kTiles) return;
  const at::ScalarType type = precision == Precision::kFp64 ? at::kDouble : at::kFloat;
  for (int64_t n = first; n <= last; n = BucketOf(n).longest + 1) {
    const Layout layout = MakeLayout(layer_.shape, n, type, limits_);
    device_->Prepare(layout.pairs_per_batch * layout.features_per_batch, layout.length, type);
    device_->Prepare(1, layout.length, at::kDouble);  // of a spectrum
    const int64_t bytes = layout.length * (type == at::kDouble ? 16 : 8);
    if (spectra_->bytes() + bytes <= limits_.spectrum_bytes) spectra_->Get(head, n, type);
  }
}

std::unique_ptr<AttentionPass> FftPairs::Begin(RouteContext context) const {
  const Layout layout = MakeLayout(layer_.shape, context.tokens(), context.precision, limits_);
  return std::make_unique<FftPairsPass>(std::move(context), layout, device_, spectra_,
                                        &rows_recomputed_);
}

AttentionCost FftPairsCost(const AttentionShape& shape, int64_t heads, int64_t n,
                           at::ScalarType type) {
  const Layout layout = MakeLayout(shape, n, type, FftPairsLimits());
  const double batches = static_cast<double>(shape.features / layout.features_per_batch);
  AttentionCost cost;
  cost.flops = static_cast<double>(heads) * (batches * layout.batch_flops + layout.spectrum_flops);
  cost.largest_piece_flops = layout.batch_flops;
  cost.bytes = layout.bytes;
  return cost;
}

}  // namespace longwave
