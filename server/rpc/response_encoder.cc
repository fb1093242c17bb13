#include "server/rpc/response_encoder.h"

#include <algorithm>
#include <utility>

#include "server/rpc/proto_convert.h"
#include "server/rpc/row_packer.h"

namespace longwave {

PackedRows::PackedRows(OutputType type, int64_t rows, int64_t dim)
    : type_(type),
      rows_(rows),
      dim_(dim),
      row_bytes_(PackedRowBytes(type, dim)),
      data_(static_cast<size_t>(rows * row_bytes_), '\0'),
      scales_(type == OutputType::kInt8 ? static_cast<size_t>(rows) : 0) {}

void PackedRows::Put(int64_t first_row, RowBlock rows) {
  for (int64_t r = 0; r < rows.rows; ++r) {
    const auto row = rows.values.subspan(static_cast<size_t>(r * rows.dim), rows.dim);
    const float scale = PackRow(type_, row, data_.data() + (first_row + r) * row_bytes_);
    if (!scales_.empty()) scales_[static_cast<size_t>(first_row + r)] = scale;
  }
}

void PackedRows::MoveTo(v1::EmbeddingBlock* block) {
  block->set_data(std::move(data_));
  block->set_dtype(ToProtoDataType(type_));
  block->set_rows(static_cast<uint32_t>(rows_));
  block->set_dim(static_cast<uint32_t>(dim_));
  block->mutable_scales()->Assign(scales_.begin(), scales_.end());
}

v1::SequenceInfo ToSequenceInfo(const SequenceSummary& summary) {
  v1::SequenceInfo info;
  info.set_tokens_in(static_cast<uint32_t>(summary.tokens_in));
  info.set_tokens_used(static_cast<uint32_t>(summary.tokens_used));
  info.set_truncated(summary.truncated);
  info.set_rows(static_cast<uint32_t>(summary.rows));
  info.set_route(ToProtoRoute(summary.report.route));
  return info;
}

v1::Execution ToExecution(const EncoderInfo& info, absl::Span<const SequenceSummary> sequences) {
  v1::Execution execution;
  execution.set_fingerprint(info.fingerprint);
  execution.set_device(info.device);
  execution.set_deterministic(info.deterministic);
  const SequenceTimes* largest = nullptr;
  double error_bound = 0;
  for (const SequenceSummary& sequence : sequences) {
    const v1::Route route = ToProtoRoute(sequence.report.route);
    const auto& routes = execution.routes();
    if (std::find(routes.begin(), routes.end(), route) == routes.end()) {
      execution.add_routes(route);
    }
    error_bound = std::max(error_bound, sequence.report.error_bound);
    if (largest == nullptr || sequence.times.batch_tokens > largest->batch_tokens) {
      largest = &sequence.times;
    }
  }
  execution.set_error_bound(error_bound);
  if (largest != nullptr) {
    execution.set_batch_tokens(static_cast<uint64_t>(largest->batch_tokens));
    execution.set_batch_sequences(static_cast<uint32_t>(largest->batch_sequences));
  }
  return execution;
}

}  // namespace longwave
