#ifndef LONGWAVE_TESTS_UNIT_RPC_RPC_FIXTURE_H_
#define LONGWAVE_TESTS_UNIT_RPC_RPC_FIXTURE_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "longwave/v1/encoder_service.grpc.pb.h"
#include "model/api/fake_encoder.h"
#include "model/base/clock.h"
#include "server/rpc/rpc_server.h"
#include "tests/unit/rpc/manual_scheduler.h"
#include "tests/unit/rpc/recording_metrics.h"

namespace longwave {

// A server in this process, its client, and the hands on both sides of the wire.
class RpcFixture : public ::testing::Test {
 protected:
  RpcFixture();
  ~RpcFixture() override;

  // Opens the port; with `serve` it is ready at once.
  void Start(CallOptions options = {}, bool serve = true);
  void Serve() { server_->Serve({.model = model_, .scheduler = &scheduler_}); }
  std::shared_ptr<grpc::Channel> NewChannel() const;

  // What a unary call brought back.
  struct Result {
    grpc::Status status;
    v1::EncodeResponse response;
    std::string pushback;  // empty: none
    bool had_initial_metadata = false;
  };
  // Calls Encode on a thread of its own. `context` may be kept to cancel.
  std::future<Result> CallEncode(const v1::EncodeRequest& request,
                                 std::shared_ptr<grpc::ClientContext> context = nullptr);
  // Sends bytes that need not be a message. `method`: "Encode", "GetModel", ...
  grpc::Status CallRaw(const std::string& method, const std::string& bytes);

  // Plays the executor: sends all rows of a sequence, then its end. The end alone does nothing to a
  // sequence that was cancelled.
  void Compute(ManualScheduler::Request& request, size_t sequence);
  void SendRows(ManualScheduler::Request& request, size_t sequence);
  void SendEnd(ManualScheduler::Request& request, size_t sequence);
  void ComputeAll(ManualScheduler::Request& request);

  // A request of sequences of these ids, as a list.
  static v1::EncodeRequest MakeRequest(const std::vector<std::vector<uint32_t>>& sequences);
  static google::rpc::ErrorInfo Info(const grpc::Status& status);

  const SteadyClock clock_;
  FakeEncoder encoder_;
  // The encoder is a member: the model only points at it.
  const std::shared_ptr<ServedModel> model_ = std::make_shared<ServedModel>(
      std::shared_ptr<Encoder>(std::shared_ptr<Encoder>(), &encoder_));
  ManualScheduler scheduler_;
  RecordingMetrics metrics_;
  std::unique_ptr<RpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::EncoderService::Stub> stub_;
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_RPC_RPC_FIXTURE_H_
