#ifndef LONGWAVE_SERVER_ADMISSION_TOKEN_RULES_H_
#define LONGWAVE_SERVER_ADMISSION_TOKEN_RULES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/admission/validator.h"

// The validator's rules about what is encoded: number and length of the sequences, truncation, ids.
namespace longwave {

// A sequence's length, and the part of it that truncation keeps.
struct SequenceShape {
  int64_t tokens_in = 0;
  int64_t first_kept = 0;
  int64_t tokens_used = 0;
};

// Checks the shape of the request's tokens without reading an id. `stream`: the ids come later.
absl::StatusOr<std::vector<SequenceShape>> CheckTokenShape(const EncodeRequestData& request,
                                                           const EncoderInfo& info,
                                                           const RequestLimits& limits,
                                                           bool stream);

// Decodes each sequence's ids and drops those that truncation cuts off. Precondition: the shapes
// are those of CheckTokenShape(stream = false).
absl::Status ReadTokenIds(const EncodeRequestData& request, int64_t vocab_size,
                          std::vector<ValidatedSequence>& sequences);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_ADMISSION_TOKEN_RULES_H_
