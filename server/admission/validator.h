#ifndef LONGWAVE_SERVER_ADMISSION_VALIDATOR_H_
#define LONGWAVE_SERVER_ADMISSION_VALIDATOR_H_

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "model/api/encoder.h"
#include "server/admission/encode_request.h"

namespace longwave {

// Every limit on what one request may hold. Published by GetModel.
struct RequestLimits {
  int64_t max_sequences = 1024;
  int64_t max_request_tokens = 1 << 20;     // all sequences of a unary request together
  int64_t max_unary_reply_bytes = 3 << 20;  // payload; above it: EncodeStream
  int64_t max_spans = 65536;                // spans, row ranges or row indices
  int64_t max_request_id_bytes = 128;
  bool allow_route_override = false;

  // Every problem at once, each naming the flag to change.
  absl::Status Validate() const;
};

// Checks a request against a model and the limits, before anything is allocated for it beyond its
// ids. Errors name field, value and limit; their reasons are those of model/base/error.h.
//
// Spans and rows name positions in the sequence as it was sent; they must lie in the part that
// truncation keeps. All ids are checked, also those that are cut off.
//
// `admit` (may be null) is asked once all but the ids is known to be right, before they are copied:
// whom it refuses has cost next to nothing.
using AdmitFunction = std::function<absl::Status(const ValidatedRequest& without_ids)>;
absl::StatusOr<ValidatedRequest> ValidateEncodeRequest(const EncodeRequestData& request,
                                                       const Encoder& encoder,
                                                       const RequestLimits& limits,
                                                       const AdmitFunction& admit = nullptr);

// As above for a stream's Open, whose ids come later: `sequences[s].token_ids` stay empty and are
// filled by DecodeIds once they have all arrived. The reply's size is not limited; the tokens that
// are used are limited by the model's longest sequence, those that are sent by four times that.
absl::StatusOr<ValidatedRequest> ValidateStreamOpen(const EncodeRequestData& request,
                                                    const Encoder& encoder,
                                                    const RequestLimits& limits);

// Widens little-endian ids of `width` (1, 2 or 4) bytes and checks each against the vocabulary. The
// error names the index of the first bad one. `first_index` is what the first id is called there.
absl::StatusOr<std::vector<int32_t>> DecodeIds(absl::string_view bytes, int width,
                                               int64_t vocab_size, int64_t first_index);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_ADMISSION_VALIDATOR_H_
