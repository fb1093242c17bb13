#ifndef LONGWAVE_SERVER_RPC_UNARY_TERMS_H_
#define LONGWAVE_SERVER_RPC_UNARY_TERMS_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "server/admission/encode_request.h"
#include "server/admission/request_terms.h"
#include "server/rpc/row_packer.h"

namespace longwave {

// The rows of a unary reply, with their scales.
inline int64_t UnaryReplyBytes(const ValidatedRequest& request) {
  return request.total_rows * WireRowBytes(request.dtype, request.row_dim);
}

// How Encode submits a request: EstimateEncode asks about the same.
inline RequestTerms UnaryTerms(const ValidatedRequest& request, Instant deadline,
                               std::shared_ptr<const Tenant> tenant) {
  return {.priority = request.priority,
          .deadline = deadline,
          .tenant = std::move(tenant),
          .reply_bytes = UnaryReplyBytes(request)};
}

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_UNARY_TERMS_H_
