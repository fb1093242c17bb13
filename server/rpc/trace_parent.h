#ifndef LONGWAVE_SERVER_RPC_TRACE_PARENT_H_
#define LONGWAVE_SERVER_RPC_TRACE_PARENT_H_

#include <grpcpp/server_context.h>

#include <string>

#include "absl/strings/string_view.h"

namespace longwave {

// The trace id (32 hex digits) of a W3C `traceparent`; empty if it is not one by the rules of
// Trace Context: version "ff", upper-case digits, ids of zeros alone, wrong lengths.
std::string ParseTraceParent(absl::string_view value);

// The trace that a call belongs to: its caller's, or a new one where there is no traceparent, a bad
// one or more than one. For log lines alone: nothing depends on it.
std::string TraceIdOf(const grpc::ServerContextBase& context);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_TRACE_PARENT_H_
