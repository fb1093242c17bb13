#ifndef LONGWAVE_SERVER_RPC_UNARY_REQUEST_H_
#define LONGWAVE_SERVER_RPC_UNARY_REQUEST_H_

#include <grpcpp/support/byte_buffer.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/base/mutex.h"
#include "server/rpc/request_recorder.h"
#include "server/rpc/response_encoder.h"
#include "server/rpc/service_core.h"
#include "server/rpc/unary_format.h"

namespace longwave {

// One request whose answer is one message: reads it, hands its sequences to the scheduler, and
// writes the reply when the last of them has ended. No thread waits meanwhile. It knows nothing of
// the call that it came by: a unary one, or one of many on a stream. Thread-safe.
class UnaryRequest final : public std::enable_shared_from_this<UnaryRequest> {
 public:
  // Who asks, and how.
  struct Origin {
    std::shared_ptr<const Tenant> tenant;  // null: nobody says who calls
    Instant deadline = kNever;             // of the call
    int attempts_before = 0;               // how often the client has sent the same before
  };
  // What came of it.
  struct Outcome {
    absl::Status status;
    grpc::ByteBuffer reply;  // if OK
    StageTimes stages;
  };
  // Told once, on any thread, perhaps before Start returns. Then nothing of the request runs any
  // more, but the memory of its reply is accounted for until the request is destroyed.
  using Done = std::function<void(Outcome)>;

  // Stamps the arrival. `core` outlives the request.
  UnaryRequest(ServiceCore* core, std::unique_ptr<UnaryFormat> format, TraceContext trace);

  // Either of the two, once. `bytes` are let go before they return.
  void Start(grpc::ByteBuffer* bytes, Origin origin, Done done);
  void Refuse(grpc::ByteBuffer* bytes, const absl::Status& error, Done done);
  // Ends it with `reason` as soon as may be; Done is told.
  void Cancel(const absl::Status& reason);

  // When it must have ended, its own wish included; once started.
  Instant deadline() const { return deadline_; }
  const Tenant* tenant() const { return tenant_.get(); }
  const UnaryFormat& format() const { return *format_; }

 private:
  class Consumer;

  // Everything up to the queue. An error refuses the request.
  absl::Status Admit(grpc::ByteBuffer* bytes, const Origin& origin);
  // Lets the request in, and sets the time by which it must have ended.
  absl::Status Enter(const Origin& origin);
  absl::Status LimitTime(Instant latest);
  RequestTerms Terms(const ValidatedRequest& request) const;
  // Refuses what Submit would refuse.
  absl::Status Foresee(const ValidatedRequest& request);
  void Prepare(const ValidatedRequest& request);
  void Describe(const ValidatedRequest& request);
  absl::Status Submit(ValidatedRequest request);
  void SequenceEnded(size_t sequence, absl::StatusOr<SequenceReport> result,
                     const SequenceTimes& times);
  // Ends the request, with its error or an answer.
  void Reply();
  void Answer();
  StageTimes Stamp();
  void Fail(const absl::Status& error);
  void Tell(Outcome outcome);

  ServiceCore* const core_;
  const std::unique_ptr<UnaryFormat> format_;
  Backend backend_;
  std::shared_ptr<const Tenant> tenant_;
  Instant deadline_{};
  Done done_;
  // Written before the sequences are submitted, and by their consumers in disjoint parts.
  std::string request_id_;
  std::optional<PackedRows> rows_;
  // Goes with the request: the reply is there until the client has taken it.
  const std::shared_ptr<HostReservation> reply_memory_ = std::make_shared<HostReservation>();
  std::vector<SequenceSummary> summaries_;

  Mutex mutex_;
  RequestRecorder recorder_ ABSL_GUARDED_BY(mutex_);
  size_t unfinished_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status error_ ABSL_GUARDED_BY(mutex_);  // the first one
  std::optional<Scheduler::Ticket> ticket_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_UNARY_REQUEST_H_
