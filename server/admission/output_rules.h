#ifndef LONGWAVE_SERVER_ADMISSION_OUTPUT_RULES_H_
#define LONGWAVE_SERVER_ADMISSION_OUTPUT_RULES_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/admission/token_rules.h"
#include "server/admission/validator.h"

// The validator's rules about what is wanted of the sequences.
namespace longwave {

struct OutputPlan {
  std::vector<OutputSpec> outputs;  // one per sequence
  OutputType dtype = OutputType::kFp32;
  int64_t row_dim = 0;
  int64_t total_rows = 0;
};

absl::StatusOr<OutputPlan> CheckOutput(const EncodeRequestData& request, const EncoderInfo& info,
                                       absl::Span<const SequenceShape> shapes,
                                       const RequestLimits& limits);

// REQUEST_TOO_LARGE, naming EncodeStream, if the rows do not fit into one reply.
absl::Status CheckReplySize(const OutputPlan& plan, const RequestLimits& limits);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_ADMISSION_OUTPUT_RULES_H_
