#ifndef LONGWAVE_SERVER_RPC_TRACE_PARENT_H_
#define LONGWAVE_SERVER_RPC_TRACE_PARENT_H_

#include <grpcpp/server_context.h>

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace longwave {

// Where a call stands in its caller's trace (W3C Trace Context). For log lines alone: nothing that
// the service does depends on it.
struct TraceContext {
  std::string trace_id;        // 32 hex digits
  std::string parent_span_id;  // 16 hex digits; empty: the call begins its trace
  bool sampled = false;  // the caller records this trace: its requests are logged, good or bad
};

// What a `traceparent` says; none if it is not one by the rules of Trace Context: version "ff",
// upper-case digits, ids of zeros alone, wrong lengths.
std::optional<TraceContext> ParseTraceParent(absl::string_view value);

// The trace that a call belongs to: its caller's, or a new one where there is no traceparent, a bad
// one or more than one.
TraceContext TraceContextOf(const grpc::ServerContextBase& context);

// 16 hex digits for one request.
std::string NewSpanId();

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_TRACE_PARENT_H_
