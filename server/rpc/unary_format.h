#ifndef LONGWAVE_SERVER_RPC_UNARY_FORMAT_H_
#define LONGWAVE_SERVER_RPC_UNARY_FORMAT_H_

#include <grpcpp/support/byte_buffer.h>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/api/encoder.h"
#include "model/base/request_trace.h"
#include "server/admission/encode_request.h"
#include "server/admission/validator.h"
#include "server/observability/service_metrics.h"
#include "server/rpc/response_encoder.h"

namespace longwave {

// What a reply is made of.
struct UnaryReply {
  const EncoderInfo& info;
  absl::string_view request_id;
  PackedRows& rows;  // may be moved from
  absl::Span<const SequenceSummary> sequences;
};

// How the requests of one method, and their replies, look on the wire. One object per request; not
// thread-safe.
class UnaryFormat {
 public:
  virtual ~UnaryFormat() = default;

  virtual RpcMethod method() const = 0;
  // Looks at a request before anything is decided about it: what an answer needs to be told apart
  // from others. Leaves the bytes as they are.
  virtual void Peek(grpc::ByteBuffer* bytes) {}
  // Reads a request and lets its bytes go. Views in the result point into the format until Release.
  // `info`, `limits`: what it is to be served by, for what only this format can say of its fields;
  // the validator checks everything.
  virtual absl::StatusOr<EncodeRequestData> Read(grpc::ByteBuffer* bytes, const EncoderInfo& info,
                                                 const RequestLimits& limits) = 0;
  // The ids have been taken over, or are not wanted: lets go of what Read kept.
  virtual void Release() = 0;
  // `stamp` ends the time of serialising and tells all times: to be called once, when the rows are
  // in their wire form.
  virtual grpc::ByteBuffer Write(const UnaryReply& reply,
                                 absl::FunctionRef<StageTimes()> stamp) = 0;
  // An error with the fields called what this format calls them.
  virtual absl::Status Translate(const absl::Status& error) const { return error; }
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_UNARY_FORMAT_H_
