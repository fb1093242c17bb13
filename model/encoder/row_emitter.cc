#include "model/encoder/row_emitter.h"

#include <algorithm>

namespace longwave {
namespace {

// One message of the API holds at most 1 MiB of rows.
constexpr int64_t kBlockFloats = (int64_t{1} << 20) / sizeof(float);

}  // namespace

absl::StatusOr<RowEmitter::Result> RowEmitter::Next(int sequence, const SequenceOutput& output,
                                                    LastRows last_rows) {
  if (sequence != sequence_) {
    sequence_ = sequence;
    next_row_ = 0;
    block_rows_ = 0;
  }
  if (block_rows_ == 0) {
    if (absl::Status status = Fill(output, last_rows); !status.ok()) return status;
  }
  const RowBlock rows{.values = block_, .rows = block_rows_, .dim = output.dim()};
  if (sink_->Offer(sequence, next_row_, rows) == RowSink::Answer::kRefused) {
    return Result::kRefused;
  }
  next_row_ += block_rows_;
  block_rows_ = 0;
  return next_row_ == output.rows() ? Result::kAll : Result::kMore;
}

absl::Status RowEmitter::Fill(const SequenceOutput& output, LastRows last_rows) {
  const int64_t fit = std::max<int64_t>(1, kBlockFloats / output.dim());
  const int64_t rows = std::min(fit, output.rows() - next_row_);
  std::vector<const float*> pointers;
  if (output.ReadsLastLayer()) {
    std::vector<int64_t> tokens(rows);
    for (int64_t i = 0; i < rows; ++i) tokens[i] = output.TokenOfRow(next_row_ + i);
    pointers = last_rows(tokens);
  }
  block_.resize(rows * output.dim());
  absl::Status status = output.Gather(next_row_, pointers, absl::MakeSpan(block_));
  if (status.ok()) block_rows_ = rows;
  return status;
}

}  // namespace longwave
