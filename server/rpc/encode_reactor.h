#ifndef LONGWAVE_SERVER_RPC_ENCODE_REACTOR_H_
#define LONGWAVE_SERVER_RPC_ENCODE_REACTOR_H_

#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>

#include "model/base/mutex.h"
#include "server/rpc/service_core.h"
#include "server/rpc/unary_request.h"

namespace longwave {

// One unary call that encodes, in whatever format: brings its request in, its answer out, and the
// caller's leaving to the request.
class EncodeReactor final : public grpc::ServerUnaryReactor,
                            public std::enable_shared_from_this<EncodeReactor> {
 public:
  // Handles a call; the reactor owns itself until gRPC and the scheduler are done with it.
  static grpc::ServerUnaryReactor* Start(ServiceCore* core, std::unique_ptr<UnaryFormat> format,
                                         grpc::CallbackServerContext* context,
                                         grpc::ByteBuffer* request, grpc::ByteBuffer* response);

  EncodeReactor(ServiceCore* core, std::unique_ptr<UnaryFormat> format,
                grpc::CallbackServerContext* context, grpc::ByteBuffer* response);

  void OnCancel() override;
  void OnDone() override;

 private:
  void Begin(grpc::ByteBuffer* request);
  void End(UnaryRequest::Outcome outcome);
  void Answer(UnaryRequest::Outcome outcome);
  void Refuse(const absl::Status& status);
  // Sets the alarm for a reply that the client does not take. Before Finish.
  void BoundTheTaking();
  void GiveUp();

  ServiceCore* const core_;
  const GuardedCall guarded_;
  grpc::CallbackServerContext* const context_;
  grpc::ByteBuffer* const response_;
  const std::shared_ptr<UnaryRequest> request_;  // its reply's memory is held until OnDone

  Mutex mutex_;
  std::unique_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<EncodeReactor> self_;  // until OnDone
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_ENCODE_REACTOR_H_
