#ifndef LONGWAVE_MODEL_ENCODER_SEQUENCE_OUTPUT_H_
#define LONGWAVE_MODEL_ENCODER_SEQUENCE_OUTPUT_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "model/api/encoder.h"

namespace longwave {

// What one sequence yields, made from the rows of its layers in blocks. Blocks lie relative to the
// sequence's start and their results are combined in order, so a value does not depend on threads
// or batch mates. Sums are taken in double, row after row.
//
// Rows (Pooling::kRows) of the last layer are not copied here: they are read from the layer itself
// when they are sent (Gather).
class SequenceOutput {
 public:
  // Preconditions: CheckBatch accepted `spec`; hidden = width of a row; last_layer = num_layers.
  SequenceOutput(OutputSpec spec, int64_t tokens, int64_t hidden, int last_layer);

  int64_t rows() const { return rows_; }
  // Floats in a row: the layers' vectors side by side.
  int64_t dim() const { return kept_ * static_cast<int64_t>(layers_.size()); }

  int deepest_layer() const { return *std::max_element(layers_.begin(), layers_.end()); }
  // True if the rows after this layer must be folded (0: the embeddings).
  bool Folds(int layer) const;
  int64_t blocks() const { return static_cast<int64_t>(blocks_.size()); }
  // Token positions of the rows that Fold wants.
  TokenRange BlockRows(int64_t block) const { return blocks_[block].tokens; }
  // `rows`: BlockRows(block) of `layer`, [rows, hidden]. Different blocks may be folded at once, on
  // different threads.
  void Fold(int layer, int64_t block, absl::Span<const float> rows);
  // After all blocks of the layer. NON_FINITE if a value is not a number.
  absl::Status EndLayer(int layer);

  // True if Gather takes the last layer's rows.
  bool ReadsLastLayer() const { return rows_kind() && Wants(last_layer_); }
  // Token position of an output row. Precondition: Pooling::kRows.
  int64_t TokenOfRow(int64_t row) const;
  // Writes output rows [first, first + out.size() / dim()). `last_rows`: one pointer for each, to
  // the last layer's row of its token; empty unless ReadsLastLayer. NON_FINITE as above.
  absl::Status Gather(int64_t first, absl::Span<const float* const> last_rows,
                      absl::Span<float> out) const;

  // Frees what was folded. Only ResidentBytes may be called afterwards.
  void Release();
  int64_t ResidentBytes() const;

  // For predictions, of an output that was not made: what ResidentBytes would be, the deepest layer
  // that it needs, and the rows that Fold would see, of all layers together.
  static int64_t PredictBytes(const OutputSpec& spec, int64_t tokens, int64_t hidden,
                              int last_layer);
  static int DeepestLayer(const OutputSpec& spec, int last_layer);
  static int64_t FoldedRows(const OutputSpec& spec, int64_t tokens, int last_layer);

 private:
  struct Block {
    int64_t range = 0;  // index in ranges_
    TokenRange tokens;
  };

  bool rows_kind() const { return spec_.pooling == Pooling::kRows; }
  bool Wants(int layer) const;
  void CutBlocks();
  void CopyRows(int layer, const Block& block, absl::Span<const float> rows);
  void Reduce(const Block& block, absl::Span<const float> rows, double* partial) const;
  std::vector<double> Combine(int64_t range) const;
  // One vector, truncated and normalised, into the slots of `layer` in the output row at `out`.
  template <typename Value>
  void WriteSlots(int layer, const Value* vector, float* out) const;

  OutputSpec spec_;
  int64_t hidden_;
  int last_layer_;
  std::vector<int> layers_;  // spec.layers, or the last
  int64_t kept_;             // values of a layer's vector that are kept
  int64_t rows_;
  std::vector<TokenRange> ranges_;     // pooled: one per output row; rows: the selected ranges
  std::vector<int64_t> range_rows_;    // kRows: output rows before each range
  std::vector<int64_t> range_blocks_;  // blocks before each range, and their number at the end
  std::vector<Block> blocks_;
  std::vector<double> partials_;  // pooled: [blocks, kept]
  std::vector<float> values_;     // [rows, dim]; empty if every slot is read from the last layer
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_SEQUENCE_OUTPUT_H_
