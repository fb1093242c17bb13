#ifndef LONGWAVE_SERVER_RPC_IMMEDIATE_CALL_H_
#define LONGWAVE_SERVER_RPC_IMMEDIATE_CALL_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/caller.h"
#include "server/rpc/message_io.h"
#include "server/rpc/request_recorder.h"
#include "server/rpc/service_core.h"
#include "server/rpc/status_details.h"
#include "server/rpc/trace_parent.h"

namespace longwave {

// Who may make a call that is answered at once.
enum class Access {
  kAnyone,   // probes, which have no key
  kCallers,  // who has a key, whatever the server's state
  kServing,  // the same, and there must be a model in service
};

// What a handler is told of its call.
struct ImmediateCall {
  std::shared_ptr<const Tenant> tenant;  // null: nobody says who calls
  Backend backend;                       // Access::kServing
};

template <typename Request, typename Response>
using ImmediateHandler =
    absl::FunctionRef<absl::StatusOr<Response>(const Request&, const ImmediateCall&)>;

// Parses, answers and reports a call that needs no waiting. `core` outlives it.
template <typename Request, typename Response>
grpc::ServerUnaryReactor* AnswerAtOnce(RpcMethod method, Access access, ServiceCore* core,
                                       grpc::CallbackServerContext* context,
                                       grpc::ByteBuffer* request_bytes,
                                       grpc::ByteBuffer* response_bytes,
                                       ImmediateHandler<Request, Response> handler) {
  RequestRecorder recorder(method, core, TraceContextOf(*context));
  auto* reactor = new GuardedUnaryReactor(&core->guard(), context, *request_bytes);
  const auto answer = [&]() -> absl::StatusOr<Response> {
    ImmediateCall call;
    if (access != Access::kAnyone) {
      auto tenant = IdentifyCaller(core->authenticator(), *context);
      if (!tenant.ok()) return tenant.status();
      recorder.SetTenant(tenant->get());
      call.tenant = *std::move(tenant);
    }
    if (access == Access::kServing) {
      absl::StatusOr<Backend> backend = core->Enter();
      if (!backend.ok()) return backend.status();
      call.backend = *std::move(backend);
    }
    Request request;
    if (absl::Status status = ParseMessage(request_bytes, &request); !status.ok()) return status;
    recorder.trace().decoded = recorder.Now();
    return handler(request, call);
  };
  const absl::StatusOr<Response> response = answer();
  recorder.End(response.status());
  if (response.ok()) {
    const grpc::Slice slice = SerializeMessage(*response);
    grpc::ByteBuffer bytes(&slice, 1);
    response_bytes->Swap(&bytes);
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  WireError error = ToWireError(response.status(), NextJitter());
  if (error.pushback_ms.has_value()) {
    context->AddTrailingMetadata(kPushbackKey, absl::StrCat(*error.pushback_ms));
  }
  reactor->Finish(std::move(error.status));
  return reactor;
}

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_IMMEDIATE_CALL_H_
