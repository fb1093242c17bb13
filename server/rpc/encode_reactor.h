#ifndef LONGWAVE_SERVER_RPC_ENCODE_REACTOR_H_
#define LONGWAVE_SERVER_RPC_ENCODE_REACTOR_H_

#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/base/mutex.h"
#include "server/rpc/request_recorder.h"
#include "server/rpc/response_encoder.h"
#include "server/rpc/service_core.h"

namespace longwave {

// One unary Encode: decodes, hands the sequences to the scheduler, and finishes the call when the
// last of them has ended. No thread waits meanwhile.
class EncodeReactor final : public grpc::ServerUnaryReactor,
                            public std::enable_shared_from_this<EncodeReactor> {
 public:
  // Handles a call; the reactor owns itself until gRPC and the scheduler are done with it.
  static grpc::ServerUnaryReactor* Start(ServiceCore* core, grpc::CallbackServerContext* context,
                                         grpc::ByteBuffer* request, grpc::ByteBuffer* response);

  EncodeReactor(ServiceCore* core, grpc::CallbackServerContext* context,
                grpc::ByteBuffer* response);

  void OnCancel() override;
  void OnDone() override;

 private:
  class Consumer;

  // Whose key came with the call.
  absl::Status Identify();
  // Everything up to the queue. An error refuses the call.
  absl::Status Admit(grpc::ByteBuffer* request);
  RequestTerms Terms(const ValidatedRequest& request) const;
  // Refuses what Submit would refuse.
  absl::Status Foresee(const ValidatedRequest& request);
  void Prepare(const ValidatedRequest& request);
  void Describe(const ValidatedRequest& request);
  absl::Status Submit(ValidatedRequest request);
  void SequenceEnded(size_t sequence, absl::StatusOr<SequenceReport> result,
                     const SequenceTimes& times);
  // Ends the call, with its error or an answer.
  void Reply();
  void Answer();
  void WriteResponse();
  // Sets the alarm for a reply that the client does not take. Before Finish.
  void BoundTheTaking();
  void GiveUp();
  void Refuse(const absl::Status& status);

  ServiceCore* const core_;
  const GuardedCall guarded_;
  grpc::CallbackServerContext* const context_;
  grpc::ByteBuffer* const response_;
  Backend backend_;
  std::shared_ptr<const Tenant> tenant_;  // null: nobody says who calls
  Instant deadline_{};
  // Written before the sequences are submitted, and by their consumers in disjoint parts.
  std::string request_id_;
  std::optional<PackedRows> rows_;
  // Goes with the call: the reply is there until the client has taken it.
  const std::shared_ptr<HostReservation> reply_memory_ = std::make_shared<HostReservation>();
  std::vector<SequenceSummary> summaries_;

  Mutex mutex_;
  RequestRecorder recorder_ ABSL_GUARDED_BY(mutex_);
  size_t unfinished_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);  // the first one
  std::optional<Scheduler::Ticket> ticket_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<EncodeReactor> self_;  // until OnDone
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_ENCODE_REACTOR_H_
