#ifndef LONGWAVE_CLIENT_ENCODE_RESULT_H_
#define LONGWAVE_CLIENT_ENCODE_RESULT_H_

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/request_plan.h"
#include "longwave/v1/encode.pb.h"

namespace longwave::client {

// Floats aligned to 64 bytes, so that vector code may load them whole. Move-only.
class AlignedFloats {
 public:
  AlignedFloats() = default;
  explicit AlignedFloats(size_t size);

  absl::Span<float> span() { return absl::MakeSpan(data_.get(), size_); }
  absl::Span<const float> span() const { return absl::MakeConstSpan(data_.get(), size_); }

 private:
  struct Free {
    void operator()(float* data) const { std::free(data); }
  };
  std::unique_ptr<float[], Free> data_;
  size_t size_ = 0;
};

// One sequence of a call.
struct SequenceResult {
  absl::Status status;  // not OK only with EncodeOptions::keep_going; then it has no rows
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t tokens_in = 0;
  int64_t tokens_used = 0;
  bool truncated = false;
  v1::Route route = v1::ROUTE_UNSPECIFIED;
  int request = -1;  // index into EncodeResult::requests()
};

// One request that a call was sent as.
struct RequestResult {
  std::string request_id;
  v1::Execution execution;
  v1::StageTimings timings;
};

// What Encode returns: all rows in one buffer, in the order of the sequences. All of them come from
// one set of weights (model_digest); where several replicas answered, execution.fingerprint tells
// which requests share their bits.
class EncodeResult {
 public:
  int64_t rows() const { return rows_; }
  int64_t dim() const { return dim_; }
  absl::Span<const float> values() const { return values_.span(); }
  // Precondition: 0 <= index < rows().
  absl::Span<const float> row(int64_t index) const {
    return values_.span().subspan(index * dim_, dim_);
  }
  // All rows of one sequence.
  absl::Span<const float> sequence_values(size_t sequence) const;

  const std::vector<SequenceResult>& sequences() const { return sequences_; }
  const std::vector<RequestResult>& requests() const { return requests_; }
  const std::string& model() const { return model_; }
  const std::string& model_version() const { return model_version_; }
  const std::string& model_digest() const { return model_digest_; }

 private:
  friend class EncodeResultBuilder;
  AlignedFloats values_;
  int64_t rows_ = 0;
  int64_t dim_ = 0;
  std::vector<SequenceResult> sequences_;
  std::vector<RequestResult> requests_;
  std::string model_;
  std::string model_version_;
  std::string model_digest_;
};

// Puts the replies to the parts of a call together. Not thread-safe.
class EncodeResultBuilder {
 public:
  EncodeResultBuilder(size_t sequences, bool keep_going);

  // DATA_LOSS if the reply does not fit its part.
  absl::Status AddReply(RequestPart part, v1::EncodeResponse reply);
  void AddFailure(RequestPart part, const absl::Status& status);
  // FAILED_PRECONDITION if replies come from different weights or have different widths (with
  // keep_going: for the sequences of the later replies). To be called once.
  absl::StatusOr<EncodeResult> Build() &&;

 private:
  struct Reply {
    RequestPart part;
    v1::EncodeResponse message;
  };
  absl::Status CheckSameModel(const Reply& reply) const;
  void Place(Reply& reply);

  const bool keep_going_;
  EncodeResult result_;
  std::vector<Reply> replies_;
};

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_ENCODE_RESULT_H_
