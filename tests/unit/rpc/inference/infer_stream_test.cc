// ModelStreamInfer through the port: order, failures that spare the stream, bounds, and its ends.
#include <gmock/gmock.h>
#include <google/protobuf/io/coded_stream.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "inference/inference_service.grpc.pb.h"
#include "model/base/error.h"
#include "tests/unit/rpc/inference/infer_request.h"
#include "tests/unit/rpc/rpc_fixture.h"

namespace longwave {
namespace {

using inference::ModelInferRequest;
using inference::ModelStreamInferResponse;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class InferStreamTest : public RpcFixture {
 protected:
  using Stream = grpc::ClientReaderWriter<ModelInferRequest, ModelStreamInferResponse>;

  void Connect(CallOptions options = {}) {
    Start(options);
    inference_ = inference::GRPCInferenceService::NewStub(channel_);
    stream_ = inference_->ModelStreamInfer(&context_);
  }
  void Send(const std::string& id, const std::vector<int32_t>& ids) {
    ModelInferRequest request = MakeInfer({ids});
    request.set_id(id);
    ASSERT_TRUE(stream_->Write(request));
  }
  ModelStreamInferResponse Read() {
    ModelStreamInferResponse message;
    EXPECT_TRUE(stream_->Read(&message)) << "the stream has ended";
    return message;
  }
  // Computes request `number` (from 1, as they came) and reads its answer.
  void ExpectAnswer(size_t number, const std::string& id) {
    ComputeAll(scheduler_.AwaitSubmitted(number));
    const ModelStreamInferResponse message = Read();
    EXPECT_EQ(message.error_message(), "");
    EXPECT_EQ(message.infer_response().id(), id);
    EXPECT_EQ(message.infer_response().raw_output_contents_size(), 2);
    EXPECT_GT(message.infer_response().parameters().at("longwave_total_ms").double_param(), 0);
  }

  grpc::ClientContext context_;
  std::unique_ptr<inference::GRPCInferenceService::Stub> inference_;
  std::unique_ptr<Stream> stream_;
};

TEST_F(InferStreamTest, EachIsAnsweredWhenItEnds) {
  Connect();
  Send("a", {1, 2});
  Send("b", {3});
  scheduler_.AwaitSubmitted(2);
  ExpectAnswer(2, "b");
  ExpectAnswer(1, "a");
  stream_->WritesDone();
  ModelStreamInferResponse message;
  EXPECT_FALSE(stream_->Read(&message));
  EXPECT_TRUE(stream_->Finish().ok());
  EXPECT_EQ(metrics_.AwaitEnded(2)[0].record.method, RpcMethod::kModelStreamInfer);
}

TEST_F(InferStreamTest, AnErrorOfOneEndsNothingElse) {
  Connect();
  Send("bad", {1, -4});
  ModelStreamInferResponse message = Read();
  EXPECT_THAT(message.error_message(), StartsWith("INVALID_ARGUMENT TOKEN_OUT_OF_RANGE: "));
  EXPECT_THAT(message.error_message(), HasSubstr("inputs[input_ids][0][1] = -4"));
  EXPECT_EQ(message.infer_response().id(), "bad");
  EXPECT_EQ(message.infer_response().model_name(), "fake");
  Send("good", {1});
  ExpectAnswer(1, "good");
  stream_->WritesDone();
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(InferStreamTest, SaysThatAnAnswerIsTheLastIfAsked) {
  Connect();
  ModelInferRequest request = MakeInfer({{1}});
  (*request.mutable_parameters())["triton_enable_empty_final_response"].set_bool_param(true);
  ASSERT_TRUE(stream_->Write(request));
  ComputeAll(scheduler_.AwaitSubmitted(1));
  EXPECT_TRUE(Read().infer_response().parameters().at("triton_final_response").bool_param());
}

TEST_F(InferStreamTest, ReadsNoMoreThanMayBeOpen) {
  Connect({.max_stream_tags = 2});
  for (const char* id : {"a", "b", "c"}) Send(id, {1});
  scheduler_.AwaitSubmitted(2);
  for (int i = 0; i < 3; ++i) {  // by then a server that reads on would have "c"
    grpc::ClientContext context;
    inference::ServerReadyResponse response;
    ASSERT_TRUE(inference_->ServerReady(&context, {}, &response).ok());
  }
  EXPECT_EQ(scheduler_.submitted(), 2u);  // "c" lies on the wire
  ExpectAnswer(1, "a");
  scheduler_.AwaitSubmitted(3);
  ExpectAnswer(2, "b");
  ExpectAnswer(3, "c");
  stream_->WritesDone();
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(InferStreamTest, ACallerThatLeavesTakesItsRequestsAlong) {
  Connect();
  Send("a", {1});
  Send("b", {2});
  const Scheduler::Ticket first = scheduler_.AwaitSubmitted(1).ticket;
  const Scheduler::Ticket second = scheduler_.AwaitSubmitted(2).ticket;
  context_.TryCancel();
  EXPECT_EQ(scheduler_.AwaitCancelled(first).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(scheduler_.AwaitCancelled(second).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(InferStreamTest, DrainingAnswersWhatIsOpenAndEndsTheStream) {
  Connect();
  Send("a", {1});
  auto& open = scheduler_.AwaitSubmitted(1);
  std::thread drain([this] { server_->Drain(clock_.Now() + std::chrono::seconds(30), [] {}); });
  ComputeAll(open);
  EXPECT_EQ(Read().infer_response().id(), "a");
  ModelStreamInferResponse message;
  while (stream_->Read(&message)) {
  }
  const grpc::Status status = stream_->Finish();
  drain.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Info(status).reason(), "DRAINING");
}

TEST_F(InferStreamTest, WhatIsOpenWhenTheClientHasSaidAllIsAnswered) {
  Connect();
  Send("a", {1});
  auto& open = scheduler_.AwaitSubmitted(1);
  stream_->WritesDone();
  ComputeAll(open);
  EXPECT_EQ(Read().infer_response().id(), "a");
  ModelStreamInferResponse message;
  EXPECT_FALSE(stream_->Read(&message));
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(InferStreamTest, WhatAShutdownCutsOffIsToldByItsId) {
  Connect();
  Send("a", {1});
  const Scheduler::Ticket ticket = scheduler_.AwaitSubmitted(1).ticket;
  std::thread drain([this] { server_->Drain(clock_.Now(), [] {}); });
  EXPECT_EQ(scheduler_.AwaitCancelled(ticket).code(), absl::StatusCode::kUnavailable);
  const ModelStreamInferResponse message = Read();
  EXPECT_THAT(message.error_message(), StartsWith("UNAVAILABLE DRAINING: "));
  EXPECT_EQ(message.infer_response().id(), "a");
  ModelStreamInferResponse more;
  while (stream_->Read(&more)) {
  }
  EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  drain.join();
}

TEST_F(InferStreamTest, ARefusalSaysWhenToComeBack) {
  Connect();
  scheduler_.ForeseeNow(
      MakeError({.reason = ErrorReason::kQueueFull, .retry_after = std::chrono::milliseconds(100)},
                "the queue is full"));
  Send("a", {1});
  const ModelStreamInferResponse message = Read();
  EXPECT_THAT(message.error_message(), StartsWith("RESOURCE_EXHAUSTED QUEUE_FULL: "));
  const auto& parameters = message.infer_response().parameters();
  const int64_t wait = parameters.at("longwave_retry_after_ms").int64_param();
  EXPECT_GE(wait, 80);
  EXPECT_LE(wait, 120);
}

TEST_F(InferStreamTest, AnAnswerIsOneField) {
  // Not every client's parser merges two.
  Connect();
  grpc::internal::RpcMethod method("/inference.GRPCInferenceService/ModelStreamInfer",
                                   grpc::internal::RpcMethod::BIDI_STREAMING);
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<ModelInferRequest, grpc::ByteBuffer>> raw(
      grpc::internal::ClientReaderWriterFactory<ModelInferRequest, grpc::ByteBuffer>::Create(
          channel_.get(), method, &context));
  ASSERT_TRUE(raw->Write(MakeInfer({{1, 2}})));
  ComputeAll(scheduler_.AwaitSubmitted(1));
  grpc::ByteBuffer bytes;
  ASSERT_TRUE(raw->Read(&bytes));
  grpc::Slice slice;
  ASSERT_TRUE(bytes.DumpToSingleSlice(&slice).ok());
  google::protobuf::io::CodedInputStream in(slice.begin(), static_cast<int>(slice.size()));
  EXPECT_EQ(in.ReadTag(), 2u << 3 | 2u);
  uint32_t length = 0;
  ASSERT_TRUE(in.ReadVarint32(&length));
  EXPECT_EQ(static_cast<size_t>(in.CurrentPosition()) + length, slice.size());
  raw->WritesDone();
  EXPECT_TRUE(raw->Finish().ok());
}

TEST_F(InferStreamTest, BytesThatAreNoMessageAreAnswered) {
  Connect();
  grpc::internal::RpcMethod method("/inference.GRPCInferenceService/ModelStreamInfer",
                                   grpc::internal::RpcMethod::BIDI_STREAMING);
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, ModelStreamInferResponse>> raw(
      grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, ModelStreamInferResponse>::Create(
          channel_.get(), method, &context));
  const grpc::Slice slice(std::string("\xff\xff\xff\xff"));
  ASSERT_TRUE(raw->Write(grpc::ByteBuffer(&slice, 1)));
  ModelStreamInferResponse message;
  ASSERT_TRUE(raw->Read(&message));
  EXPECT_THAT(message.error_message(), HasSubstr("MALFORMED_MESSAGE"));
  raw->WritesDone();
  EXPECT_TRUE(raw->Finish().ok());
}

TEST_F(InferStreamTest, AStreamOfNothingExpires) {
  Connect({.max_stream_deadline_seconds = 1});
  Send("a", {1});
  ExpectAnswer(1, "a");
  ModelStreamInferResponse message;
  EXPECT_FALSE(stream_->Read(&message));
  EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(InferStreamTest, AReaderThatStopsForGoodIsGivenUp) {
  Connect({.max_stall_seconds = 0.2});
  // 2.5 MiB of rows each: together more than the wire takes of what nobody reads. All are computed
  // before the first is answered, since the stream may be given up after any of them.
  constexpr size_t kAnswers = 12;
  ModelInferRequest request = MakeInfer({std::vector<int32_t>(40960, 1)});
  (*request.mutable_parameters())["pooling"].set_string_param("none");
  for (size_t n = 0; n < kAnswers; ++n) ASSERT_TRUE(stream_->Write(request));
  Send("open", {1});
  const Scheduler::Ticket open = scheduler_.AwaitSubmitted(kAnswers + 1).ticket;
  for (size_t n = 1; n <= kAnswers; ++n) SendRows(scheduler_.AwaitSubmitted(n), 0);
  for (size_t n = 1; n <= kAnswers; ++n) SendEnd(scheduler_.AwaitSubmitted(n), 0);
  EXPECT_EQ(GetErrorDetails(scheduler_.AwaitCancelled(open)).reason, ErrorReason::kSlowReader);
  ModelStreamInferResponse message;
  while (stream_->Read(&message)) {  // what had come before
  }
  EXPECT_FALSE(stream_->Finish().ok());
}

TEST_F(InferStreamTest, AStreamIsRefusedWhileLoading) {
  Start({}, /*serve=*/false);
  inference_ = inference::GRPCInferenceService::NewStub(channel_);
  stream_ = inference_->ModelStreamInfer(&context_);
  ModelStreamInferResponse message;
  EXPECT_FALSE(stream_->Read(&message));
  const grpc::Status status = stream_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Info(status).reason(), "LOADING");
}

}  // namespace
}  // namespace longwave
