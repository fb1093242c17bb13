#ifndef LONGWAVE_CLIENT_REQUEST_PLAN_H_
#define LONGWAVE_CLIENT_REQUEST_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/options.h"
#include "longwave/v1/model.pb.h"

namespace longwave::client {

// Sequences [first, first + count) of a call, sent as one request.
struct RequestPart {
  uint32_t first = 0;
  uint32_t count = 0;
};

// What a list of sequences becomes on the wire.
struct RequestPlan {
  std::vector<RequestPart> parts;
  // Sequences that no unary request can hold, and why; they are in no part.
  struct Refused {
    uint32_t sequence = 0;
    absl::Status reason;
  };
  std::vector<Refused> refused;
};

// Cuts a list in order, by tokens, within what the model's limits allow one request and one reply.
// INVALID_ARGUMENT for what is wrong with the call as a whole.
absl::StatusOr<RequestPlan> PlanRequests(absl::Span<const uint32_t> lengths,
                                         const EncodeOptions& options, const v1::Model& model);

// OK if one sequence fits Encode, else REQUEST_TOO_LARGE naming the limit: EncodeStream takes it.
// `row_counts` are the rows it yields.
absl::Status CheckUnary(int64_t tokens, int64_t rows, const EncodeOptions& options,
                        const v1::Model& model);

// Rows that each sequence yields, as far as the request's shape tells: where the server truncates,
// an upper bound.
std::vector<int64_t> CountRows(absl::Span<const uint32_t> lengths, const EncodeOptions& options,
                               const v1::Model& model);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_REQUEST_PLAN_H_
