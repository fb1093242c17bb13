#include "client/encode_result.h"

#include <algorithm>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/decode.h"
#include "client/error_info.h"

namespace longwave::client {
namespace {

constexpr size_t kAlignment = 64;

}  // namespace

AlignedFloats::AlignedFloats(size_t size) : size_(size) {
  if (size == 0) return;
  const size_t bytes = (size * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
  data_.reset(static_cast<float*>(std::aligned_alloc(kAlignment, bytes)));
  if (data_ == nullptr) throw std::bad_alloc();
}

absl::Span<const float> EncodeResult::sequence_values(size_t sequence) const {
  const SequenceResult& info = sequences_[sequence];
  return values_.span().subspan(info.first_row * dim_, info.rows * dim_);
}

EncodeResultBuilder::EncodeResultBuilder(size_t sequences, bool keep_going)
    : keep_going_(keep_going) {
  result_.sequences_.resize(sequences);
}

absl::Status EncodeResultBuilder::AddReply(RequestPart part, v1::EncodeResponse reply) {
  if (reply.sequences_size() != static_cast<int64_t>(part.count)) {
    return absl::DataLossError(
        absl::StrCat("reply describes ", reply.sequences_size(), " of ", part.count, " sequences"));
  }
  int64_t rows = 0;
  for (const v1::SequenceInfo& info : reply.sequences()) rows += info.rows();
  if (rows != static_cast<int64_t>(reply.embeddings().rows())) {
    return absl::DataLossError(absl::StrCat("reply has ", reply.embeddings().rows(), " rows for ",
                                            rows, " of its sequences"));
  }
  absl::Status whole = CheckBlock(reply.embeddings());
  if (!whole.ok()) return whole;
  replies_.push_back({part, std::move(reply)});
  return absl::OkStatus();
}

void EncodeResultBuilder::AddFailure(RequestPart part, const absl::Status& status) {
  for (uint32_t i = 0; i < part.count; ++i) result_.sequences_[part.first + i].status = status;
}

absl::Status EncodeResultBuilder::CheckSameModel(const Reply& reply) const {
  const v1::EncodeResponse& message = reply.message;
  if (message.model_digest() != result_.model_digest_) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     {.reason = "MODEL_CHANGED",
                      .field = "model_digest",
                      .value = message.model_digest(),
                      .limit = result_.model_digest_},
                     "replicas answered with different weights; their vectors must not be mixed");
  }
  if (static_cast<int64_t>(message.embeddings().dim()) != result_.dim_) {
    return absl::DataLossError(absl::StrCat("replies of one call have ", result_.dim_, " and ",
                                            message.embeddings().dim(), " values a row"));
  }
  return absl::OkStatus();
}

void EncodeResultBuilder::Place(Reply& reply) {
  const v1::EmbeddingBlock& block = reply.message.embeddings();
  DecodeRows(block, result_.values_.span().subspan(result_.rows_ * result_.dim_,
                                                   block.rows() * result_.dim_));
  int64_t row = result_.rows_;
  for (uint32_t i = 0; i < reply.part.count; ++i) {
    const v1::SequenceInfo& info = reply.message.sequences(i);
    result_.sequences_[reply.part.first + i] = {
        .first_row = row,
        .rows = info.rows(),
        .tokens_in = info.tokens_in(),
        .tokens_used = info.tokens_used(),
        .truncated = info.truncated(),
        .route = info.route(),
        .request = static_cast<int>(result_.requests_.size())};
    row += info.rows();
  }
  result_.rows_ = row;
  result_.requests_.push_back({reply.message.request_id(),
                               std::move(*reply.message.mutable_execution()),
                               std::move(*reply.message.mutable_timings())});
  reply.message.Clear();  // its bytes are not needed any more
}

absl::StatusOr<EncodeResult> EncodeResultBuilder::Build() && {
  if (replies_.empty()) return std::move(result_);
  std::sort(replies_.begin(), replies_.end(),
            [](const Reply& a, const Reply& b) { return a.part.first < b.part.first; });
  const v1::EncodeResponse& first = replies_.front().message;
  result_.model_ = first.model();
  result_.model_version_ = first.model_version();
  result_.model_digest_ = first.model_digest();
  result_.dim_ = first.embeddings().dim();

  int64_t total_rows = 0;
  std::vector<Reply> same_model;
  for (Reply& reply : replies_) {
    if (absl::Status status = CheckSameModel(reply); status.ok()) {
      total_rows += reply.message.embeddings().rows();
      same_model.push_back(std::move(reply));
    } else if (keep_going_) {
      AddFailure(reply.part, status);
    } else {
      return status;
    }
  }
  result_.values_ = AlignedFloats(total_rows * result_.dim_);
  for (Reply& reply : same_model) Place(reply);
  return std::move(result_);
}

}  // namespace longwave::client
