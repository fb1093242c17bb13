#ifndef LONGWAVE_SERVER_RPC_RESPONSE_ENCODER_H_
#define LONGWAVE_SERVER_RPC_RESPONSE_ENCODER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "longwave/v1/encode.pb.h"
#include "model/api/encoder.h"
#include "server/admission/encode_request.h"
#include "server/scheduling/scheduler.h"

namespace longwave {

// Rows in their wire form, filled in any order. Calls for disjoint rows may come from different
// threads at once.
class PackedRows {
 public:
  PackedRows(OutputType type, int64_t rows, int64_t dim);

  // Packs `rows` into [first_row, first_row + rows.rows).
  void Put(int64_t first_row, RowBlock rows);
  // Moves the data into a block. Leaves *this empty.
  void MoveTo(v1::EmbeddingBlock* block);

  int64_t row_bytes() const { return row_bytes_; }

 private:
  const OutputType type_;
  const int64_t rows_;
  const int64_t dim_;
  const int64_t row_bytes_;
  std::string data_;
  std::vector<float> scales_;  // kInt8 only
};

// What a reply says of one sequence.
struct SequenceSummary {
  int64_t tokens_in = 0;
  int64_t tokens_used = 0;
  bool truncated = false;
  int64_t rows = 0;
  SequenceReport report;
  SequenceTimes times;
};

v1::SequenceInfo ToSequenceInfo(const SequenceSummary& summary);
v1::Execution ToExecution(const EncoderInfo& info, absl::Span<const SequenceSummary> sequences);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_RESPONSE_ENCODER_H_
