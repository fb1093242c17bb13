#include "model/encoder/sequence_output.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "model/base/error.h"

namespace longwave {
namespace {

// Rows of one block: with 256 columns 1 MiB is read, about a millisecond of work.
constexpr int64_t kBlockRows = 1024;

int64_t SelectedRows(TokenRange range, int64_t stride) {
  return (range.end - range.begin + stride - 1) / stride;
}

// By bits, so that the loop has no early exit and no floating-point comparison to order.
bool AllFinite(absl::Span<const float> values) {
  constexpr uint32_t kExponent = 0x7f800000;
  uint32_t bad = 0;
  for (const float value : values) {
    bad |= static_cast<uint32_t>((std::bit_cast<uint32_t>(value) & kExponent) == kExponent);
  }
  return bad == 0;
}

// A NaN on either side stays.
double Larger(double a, double b) { return b > a || std::isnan(b) ? b : a; }

std::vector<int> LayersOf(const OutputSpec& spec, int last_layer) {
  return spec.layers.empty() ? std::vector<int>{last_layer} : spec.layers;
}

int64_t KeptOf(const OutputSpec& spec, int64_t hidden) {
  return spec.truncate_dim > 0 ? spec.truncate_dim : hidden;
}

std::vector<TokenRange> RangesOf(const OutputSpec& spec, int64_t tokens) {
  switch (spec.pooling) {
    case Pooling::kFirst:
      return {{0, 1}};
    case Pooling::kLast:
      return {{tokens - 1, tokens}};
    case Pooling::kSpans:
      return spec.spans;
    case Pooling::kRows:
      if (!spec.row_ranges.empty()) return spec.row_ranges;
      break;
    default:
      break;
  }
  return {{0, tokens}};
}

int64_t CountBlocks(const std::vector<TokenRange>& ranges) {
  int64_t blocks = 0;
  for (const TokenRange range : ranges) {
    blocks += (range.end - range.begin + kBlockRows - 1) / kBlockRows;
  }
  return blocks;
}

// Rows of the last layer alone are read from the layer when they are sent.
bool StoresValues(const OutputSpec& spec, int last_layer) {
  if (spec.pooling != Pooling::kRows) return true;
  return std::any_of(spec.layers.begin(), spec.layers.end(),
                     [last_layer](int layer) { return layer != last_layer; });
}

absl::Status NonFinite() {
  return MakeError(ErrorReason::kNonFinite, "the result has a value that is not a finite number");
}

// What l2 normalisation multiplies with; a vector of zeros stays zero.
template <typename Value>
double L2Scale(absl::Span<const Value> vector) {
  double squares = 0;
  for (const Value value : vector) squares += static_cast<double>(value) * value;
  return squares == 0 ? 1 : 1 / std::sqrt(squares);
}

}  // namespace

SequenceOutput::SequenceOutput(OutputSpec spec, int64_t tokens, int64_t hidden, int last_layer)
    : spec_(std::move(spec)),
      hidden_(hidden),
      last_layer_(last_layer),
      layers_(LayersOf(spec_, last_layer)),
      kept_(KeptOf(spec_, hidden)),
      rows_(spec_.RowCount(tokens)),
      ranges_(RangesOf(spec_, tokens)) {
  CutBlocks();
  if (StoresValues(spec_, last_layer)) values_.resize(rows_ * dim());
}

void SequenceOutput::CutBlocks() {
  blocks_.reserve(CountBlocks(ranges_));
  int64_t rows_before = 0;
  for (int64_t r = 0; r < static_cast<int64_t>(ranges_.size()); ++r) {
    range_rows_.push_back(rows_before);
    range_blocks_.push_back(blocks());
    rows_before += SelectedRows(ranges_[r], spec_.row_stride);
    for (int64_t begin = ranges_[r].begin; begin < ranges_[r].end; begin += kBlockRows) {
      blocks_.push_back({r, {begin, std::min(begin + kBlockRows, ranges_[r].end)}});
    }
  }
  range_blocks_.push_back(blocks());
  if (!rows_kind()) partials_.resize(blocks_.size() * kept_);
}

bool SequenceOutput::Wants(int layer) const {
  return std::find(layers_.begin(), layers_.end(), layer) != layers_.end();
}

bool SequenceOutput::Folds(int layer) const {
  return Wants(layer) && !(rows_kind() && layer == last_layer_);
}

void SequenceOutput::Fold(int layer, int64_t block, absl::Span<const float> rows) {
  if (rows_kind()) {
    CopyRows(layer, blocks_[block], rows);
  } else {
    Reduce(blocks_[block], rows, &partials_[block * kept_]);
  }
}

void SequenceOutput::Reduce(const Block& block, absl::Span<const float> rows,
                            double* partial) const {
  const int64_t count = block.tokens.end - block.tokens.begin;
  const bool max = spec_.pooling == Pooling::kMax;
  std::copy_n(rows.data(), kept_, partial);
  for (int64_t row = 1; row < count; ++row) {
    const float* const values = &rows[row * hidden_];
    if (max) {
      for (int64_t c = 0; c < kept_; ++c) partial[c] = Larger(partial[c], values[c]);
    } else {
      for (int64_t c = 0; c < kept_; ++c) partial[c] += values[c];
    }
  }
}

std::vector<double> SequenceOutput::Combine(int64_t range) const {
  const int64_t first = range_blocks_[range];
  const double* const start = &partials_[first * kept_];
  std::vector<double> vector(start, start + kept_);
  for (int64_t b = first + 1; b < range_blocks_[range + 1]; ++b) {
    const double* const partial = &partials_[b * kept_];
    for (int64_t c = 0; c < kept_; ++c) {
      vector[c] =
          spec_.pooling == Pooling::kMax ? Larger(vector[c], partial[c]) : vector[c] + partial[c];
    }
  }
  if (spec_.pooling != Pooling::kMax) {
    const double count = static_cast<double>(ranges_[range].end - ranges_[range].begin);
    for (double& value : vector) value /= count;
  }
  return vector;
}

template <typename Value>
void SequenceOutput::WriteSlots(int layer, const Value* vector, float* out) const {
  const double scale = spec_.normalize ? L2Scale(absl::MakeConstSpan(vector, kept_)) : 1;
  for (size_t slot = 0; slot < layers_.size(); ++slot) {
    if (layers_[slot] != layer) continue;
    for (int64_t c = 0; c < kept_; ++c) {
      out[slot * kept_ + c] = static_cast<float>(vector[c] * scale);
    }
  }
}

absl::Status SequenceOutput::EndLayer(int layer) {
  if (rows_kind()) return absl::OkStatus();  // Gather checks what it sends
  for (int64_t range = 0; range < rows_; ++range) {
    WriteSlots(layer, Combine(range).data(), &values_[range * dim()]);
    if (!AllFinite(absl::MakeConstSpan(values_).subspan(range * dim(), dim()))) return NonFinite();
  }
  return absl::OkStatus();
}

void SequenceOutput::CopyRows(int layer, const Block& block, absl::Span<const float> rows) {
  const TokenRange range = ranges_[block.range];
  for (int64_t token = block.tokens.begin; token < block.tokens.end; ++token) {
    if ((token - range.begin) % spec_.row_stride != 0) continue;
    const int64_t row = range_rows_[block.range] + (token - range.begin) / spec_.row_stride;
    WriteSlots(layer, &rows[(token - block.tokens.begin) * hidden_], &values_[row * dim()]);
  }
}

int64_t SequenceOutput::TokenOfRow(int64_t row) const {
  const auto after = std::upper_bound(range_rows_.begin(), range_rows_.end(), row);
  const int64_t range = after - range_rows_.begin() - 1;
  return ranges_[range].begin + (row - range_rows_[range]) * spec_.row_stride;
}

absl::Status SequenceOutput::Gather(int64_t first, absl::Span<const float* const> last_rows,
                                    absl::Span<float> out) const {
  if (!values_.empty()) std::copy_n(&values_[first * dim()], out.size(), out.begin());
  if (ReadsLastLayer()) {
    for (size_t i = 0; i < last_rows.size(); ++i) {
      WriteSlots(last_layer_, last_rows[i], &out[i * dim()]);
    }
  }
  return AllFinite(out) ? absl::OkStatus() : NonFinite();
}

void SequenceOutput::Release() {
  // Not `= {}`: that keeps the memory.
  blocks_ = std::vector<Block>();
  partials_ = std::vector<double>();
  values_ = std::vector<float>();
}

int64_t SequenceOutput::ResidentBytes() const {
  return static_cast<int64_t>(partials_.capacity() * sizeof(double) +
                              values_.capacity() * sizeof(float) +
                              blocks_.capacity() * sizeof(Block));
}

int64_t SequenceOutput::PredictBytes(const OutputSpec& spec, int64_t tokens, int64_t hidden,
                                     int last_layer) {
  const int64_t blocks = CountBlocks(RangesOf(spec, tokens));
  const int64_t kept = KeptOf(spec, hidden);
  int64_t bytes = blocks * static_cast<int64_t>(sizeof(Block));
  if (spec.pooling != Pooling::kRows) bytes += blocks * kept * static_cast<int64_t>(sizeof(double));
  if (StoresValues(spec, last_layer)) {
    bytes += spec.RowCount(tokens) * kept * static_cast<int64_t>(sizeof(float)) *
             static_cast<int64_t>(LayersOf(spec, last_layer).size());
  }
  return bytes;
}

int SequenceOutput::DeepestLayer(const OutputSpec& spec, int last_layer) {
  const std::vector<int> layers = LayersOf(spec, last_layer);
  return *std::max_element(layers.begin(), layers.end());
}

int64_t SequenceOutput::FoldedRows(const OutputSpec& spec, int64_t tokens, int last_layer) {
  std::vector<int> layers = LayersOf(spec, last_layer);
  std::sort(layers.begin(), layers.end());
  layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
  if (spec.pooling == Pooling::kRows && layers.back() == last_layer) layers.pop_back();
  int64_t rows = 0;
  for (const TokenRange range : RangesOf(spec, tokens)) rows += range.end - range.begin;
  return rows * static_cast<int64_t>(layers.size());
}

}  // namespace longwave
