#ifndef LONGWAVE_SERVER_RPC_INFERENCE_INFER_STREAM_REACTOR_H_
#define LONGWAVE_SERVER_RPC_INFERENCE_INFER_STREAM_REACTOR_H_

#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "model/base/mutex.h"
#include "server/rpc/service_core.h"
#include "server/rpc/unary_request.h"

namespace longwave {

// One ModelStreamInfer call: each message is a request of its own, answered by one message when it
// has ended, whatever came before it. A request that fails is answered with its error and the
// stream goes on. While as many requests are open or wait to be written as a stream may have,
// nothing is read.
class InferStreamReactor final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                                 public DrainListener,
                                 public std::enable_shared_from_this<InferStreamReactor> {
 public:
  // Handles a call; the reactor owns itself until gRPC, the scheduler and its timer are done.
  static grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Start(
      ServiceCore* core, grpc::CallbackServerContext* context);

  InferStreamReactor(ServiceCore* core, grpc::CallbackServerContext* context);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  void OnDrain() override;
  void OnAbort() override;

 private:
  using RequestPtr = std::shared_ptr<UnaryRequest>;

  // A message to write, and the request whose reply's memory it is; null: an error's.
  struct Answer {
    grpc::ByteBuffer bytes;
    RequestPtr request;
  };

  // What was decided under the lock, to be done without it.
  struct Decided {
    std::vector<RequestPtr> cancel;
    absl::Status reason;
    const grpc::ByteBuffer* write = nullptr;  // of writing_, which stays until OnWriteDone
    bool read = false;
    std::optional<grpc::Status> finish;
  };
  void Do(Decided decided);

  void Begin();
  // Takes in_ as a request.
  void Handle();
  void RequestEnded(uint64_t number, UnaryRequest::Outcome outcome);
  // Ends all requests; those that have not ended say so.
  void CancelAll(const absl::Status& reason, Decided& decided)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ends the whole call with an error, once its requests have ended: they are told nothing more.
  void Break(const absl::Status& error, Decided& decided) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Decides the next write, or the end of the call.
  void Advance(Decided& decided) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether a message is to be read now; if so, it counts as being read.
  bool MayRead() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void Arm(Instant when) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnTimer();

  ServiceCore* const core_;
  const GuardedCall guarded_;
  grpc::CallbackServerContext* const context_;
  const TraceContext trace_;
  const Instant call_deadline_;  // kNever: the caller gave none
  grpc::ByteBuffer in_;          // owned by gRPC while a read is outstanding
  bool heard_ = false;           // a message has come; of reads, which follow one another

  Mutex mutex_;
  std::map<uint64_t, RequestPtr> open_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_number_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<Answer> answers_ ABSL_GUARDED_BY(mutex_);
  std::optional<Answer> writing_ ABSL_GUARDED_BY(mutex_);
  Instant write_started_ ABSL_GUARDED_BY(mutex_){};
  Instant idle_since_ ABSL_GUARDED_BY(mutex_){};
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status broken_ ABSL_GUARDED_BY(mutex_);  // what ends the whole call
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);
  Instant armed_for_ ABSL_GUARDED_BY(mutex_) = kNever;
  std::shared_ptr<InferStreamReactor> self_;  // until OnDone
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_INFERENCE_INFER_STREAM_REACTOR_H_
