#ifndef LONGWAVE_MODEL_ENCODER_ROW_EMITTER_H_
#define LONGWAVE_MODEL_ENCODER_ROW_EMITTER_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/api/encoder.h"
#include "model/encoder/sequence_output.h"

namespace longwave {

// Sends the rows of one sequence after the other through a RowSink, in blocks of at most 1 MiB (one
// row, if a row is longer). A refused block is kept and offered again.
class RowEmitter {
 public:
  enum class Result { kMore, kAll, kRefused };
  // Points to the last layer's rows of these tokens, valid until the next call.
  using LastRows = absl::FunctionRef<std::vector<const float*>(absl::Span<const int64_t> tokens)>;

  // `sink` outlives the emitter.
  explicit RowEmitter(RowSink* sink) : sink_(sink) {}

  // Offers the next block of the sequence. A call for another sequence than before starts with its
  // first row. An error (NON_FINITE) is the sequence's end.
  absl::StatusOr<Result> Next(int sequence, const SequenceOutput& output, LastRows last_rows);

  // Frees the block. Only for an emitter that has sent all.
  void Release() { block_ = std::vector<float>(); }
  // Bytes of the block that was offered last.
  int64_t block_bytes() const { return static_cast<int64_t>(block_.size() * sizeof(float)); }
  int64_t ResidentBytes() const { return static_cast<int64_t>(block_.capacity() * sizeof(float)); }

 private:
  absl::Status Fill(const SequenceOutput& output, LastRows last_rows);

  RowSink* const sink_;
  int sequence_ = -1;
  int64_t next_row_ = 0;
  int64_t block_rows_ = 0;  // rows in block_ that were not taken yet; 0: block_ is to be filled
  std::vector<float> block_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_ROW_EMITTER_H_
