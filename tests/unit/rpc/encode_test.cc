// Encode through the port: codes, details, deadlines, cancellation, and what the reply says.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "google/rpc/status.pb.h"
#include "model/base/error.h"
#include "tests/unit/rpc/rpc_fixture.h"

namespace longwave {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

class EncodeTest : public RpcFixture {
 protected:
  // What metrics saw of the only request.
  RecordingMetrics::Ended OnlyRecord() {
    const auto ended = metrics_.AwaitEnded(1);
    EXPECT_EQ(ended.size(), 1u);
    return ended[0];
  }
};

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + duration.nanos() * 1e-9;
}

std::vector<float> Floats(const std::string& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

TEST_F(EncodeTest, AnswersWithEverySequenceInOrder) {
  Start();
  v1::EncodeRequest request = MakeRequest({{1, 2, 3}, {4}});
  request.set_request_id("id-1");
  auto call = CallEncode(request);
  ManualScheduler::Request& submitted = scheduler_.AwaitSubmitted(1);
  ASSERT_EQ(submitted.tasks.size(), 2u);
  EXPECT_FALSE(submitted.tasks[0].streamed);
  Compute(submitted, 1);  // out of order
  Compute(submitted, 0);
  const Result result = call.get();
  ASSERT_TRUE(result.status.ok()) << result.status.error_message();

  const v1::EncodeResponse& response = result.response;
  std::vector<float> expected = encoder_.ExpectedRows({1, 2, 3}, submitted.tasks[0].output);
  for (const float value : encoder_.ExpectedRows({4}, submitted.tasks[1].output)) {
    expected.push_back(value);
  }
  EXPECT_EQ(Floats(response.embeddings().data()), expected);
  EXPECT_EQ(response.embeddings().rows(), 2u);
  EXPECT_EQ(response.embeddings().dim(), 16u);
  EXPECT_EQ(response.embeddings().dtype(), v1::DATA_TYPE_FP32);
  EXPECT_EQ(response.request_id(), "id-1");
  EXPECT_EQ(response.model(), encoder_.Info().model);
  EXPECT_EQ(response.model_digest(), encoder_.Info().weights_digest);
  ASSERT_EQ(response.sequences_size(), 2);
  EXPECT_EQ(response.sequences(0).tokens_used(), 3u);
  EXPECT_EQ(response.sequences(1).rows(), 1u);
  EXPECT_EQ(response.sequences(1).route(), v1::ROUTE_CHUNKWISE);
  EXPECT_EQ(response.execution().fingerprint(), encoder_.Info().fingerprint);
  EXPECT_EQ(response.execution().batch_tokens(), 3u);
  ASSERT_EQ(response.execution().routes_size(), 1);
}

TEST_F(EncodeTest, StageTimesAddUpAndAreThoseOfTheMetrics) {
  Start();
  auto call = CallEncode(MakeRequest({{1, 2, 3}}));
  ComputeAll(scheduler_.AwaitSubmitted(1));
  const v1::StageTimings timings = call.get().response.timings();
  const double sum = Seconds(timings.receive()) + Seconds(timings.validate()) +
                     Seconds(timings.queue()) + Seconds(timings.compute()) +
                     Seconds(timings.serialise()) + Seconds(timings.other());
  EXPECT_GT(Seconds(timings.total()), 0);
  EXPECT_NEAR(sum, Seconds(timings.total()), 1e-9);
  EXPECT_GE(Seconds(timings.other()), 0);

  const RecordingMetrics::Ended ended = OnlyRecord();
  EXPECT_NEAR(ToSeconds(ended.record.stages.total), Seconds(timings.total()), 1e-9);
  EXPECT_NEAR(ToSeconds(ended.record.stages.queue), Seconds(timings.queue()), 1e-9);
  EXPECT_EQ(ended.record.code, absl::StatusCode::kOk);
  EXPECT_EQ(ended.record.tokens, 3);
  EXPECT_EQ(ended.record.longest_sequence, 3);
  EXPECT_TRUE(ended.record.admitted);
  EXPECT_EQ(ended.route, "chunkwise");
  EXPECT_EQ(ended.priority, "interactive");
  EXPECT_EQ(metrics_.started(), 1);
}

TEST_F(EncodeTest, EveryTypeTravels) {
  Start();
  size_t calls = 0;
  for (const v1::DataType dtype :
       {v1::DATA_TYPE_FP16, v1::DATA_TYPE_BF16, v1::DATA_TYPE_INT8, v1::DATA_TYPE_BINARY}) {
    v1::EncodeRequest request = MakeRequest({{1, 2}, {3}});
    request.mutable_output()->set_dtype(dtype);
    auto call = CallEncode(request);
    ComputeAll(scheduler_.AwaitSubmitted(++calls));
    const Result result = call.get();
    ASSERT_TRUE(result.status.ok());
    const v1::EmbeddingBlock& block = result.response.embeddings();
    EXPECT_EQ(block.dtype(), dtype);
    const size_t row_bytes = dtype == v1::DATA_TYPE_INT8     ? 16
                             : dtype == v1::DATA_TYPE_BINARY ? 2
                                                             : 32;
    EXPECT_EQ(block.data().size(), 2 * row_bytes);
    EXPECT_EQ(block.scales_size(), dtype == v1::DATA_TYPE_INT8 ? 2 : 0);
  }
}

TEST_F(EncodeTest, BadRequestsAreRefusedBeforeTheQueue) {
  Start();
  v1::EncodeRequest request = MakeRequest({{1, 2, 5000}});
  Result result = CallEncode(request).get();
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Info(result.status).reason(), "TOKEN_OUT_OF_RANGE");
  EXPECT_THAT(Info(result.status).metadata().at("field"), HasSubstr("[2]"));
  EXPECT_EQ(scheduler_.submitted(), 0u);
  const RecordingMetrics::Ended ended = OnlyRecord();
  EXPECT_EQ(ended.record.reason, ErrorReason::kTokenOutOfRange);
  EXPECT_FALSE(ended.record.admitted);
}

TEST_F(EncodeTest, UndecodableBytesAreInvalid) {
  Start();
  for (const char* method : {"Encode", "EstimateEncode", "GetModel", "ListModels"}) {
    const grpc::Status status = CallRaw(method, "\xff\xff\xff");
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
    EXPECT_EQ(Info(status).reason(), "MALFORMED_MESSAGE") << method;
  }
  EXPECT_EQ(metrics_.AwaitEnded(4)[3].record.reason, ErrorReason::kMalformedMessage);
}

TEST_F(EncodeTest, LoadingIsUnavailable) {
  Start({}, /*serve=*/false);
  const Result result = CallEncode(MakeRequest({{1}})).get();
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Info(result.status).reason(), "LOADING");
  EXPECT_EQ(result.pushback, "");
}

TEST_F(EncodeTest, AFullQueueSaysWhenToComeBack) {
  Start();
  scheduler_.RefuseNext(
      MakeError({.reason = ErrorReason::kQueueFull, .retry_after = milliseconds(1000)}, "full"));
  const Result result = CallEncode(MakeRequest({{1}})).get();
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  const int pushback = std::stoi(result.pushback);
  EXPECT_GE(pushback, 800);
  EXPECT_LE(pushback, 1200);
  EXPECT_FALSE(OnlyRecord().record.admitted);
}

TEST_F(EncodeTest, WhatIsForeseenToBeRefusedIsNotSubmittedAndItsIdsAreNotRead) {
  Start();
  scheduler_.ForeseeNow(
      MakeError({.reason = ErrorReason::kMemoryFull, .retry_after = milliseconds(1000)}, "full"));
  // The id is outside the vocabulary, which nobody looks at any more.
  const Result result = CallEncode(MakeRequest({{4'000'000}})).get();
  EXPECT_EQ(Info(result.status).reason(), "MEMORY_FULL");
  EXPECT_FALSE(result.pushback.empty());
  EXPECT_EQ(scheduler_.submitted(), 0u);
  EXPECT_FALSE(OnlyRecord().record.admitted);
  EXPECT_EQ(OnlyRecord().record.tokens, 1);
}

// A client with the retry policy of a service config; it only repeats calls of which the server has
// sent nothing but trailers.
class RetryTest : public EncodeTest {
 protected:
  grpc::Status EncodeWithRetries() {
    grpc::ChannelArguments arguments;
    arguments.SetServiceConfigJSON(R"({"methodConfig": [{
        "name": [{"service": "longwave.v1.EncoderService"}],
        "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.001s", "maxBackoff": "0.001s",
                        "backoffMultiplier": 1,
                        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]}}]})");
    const auto channel = grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                                   grpc::InsecureChannelCredentials(), arguments);
    grpc::ClientContext context;
    v1::EncodeResponse response;
    return v1::EncoderService::NewStub(channel)->Encode(&context, MakeRequest({{1}}), &response);
  }
};

TEST_F(RetryTest, ARefusalWithATimeIsRepeatedByTheClientsLibrary) {
  Start();
  scheduler_.RefuseNext(
      MakeError({.reason = ErrorReason::kQueueFull, .retry_after = milliseconds(1)}, "full"));
  auto call = std::async(std::launch::async, [this] { return EncodeWithRetries(); });
  ComputeAll(scheduler_.AwaitSubmitted(1));
  EXPECT_TRUE(call.get().ok());
  EXPECT_EQ(metrics_.AwaitEnded(2).size(), 2u);
}

TEST_F(RetryTest, ARefusalForGoodIsNotRepeated) {
  Start();
  scheduler_.RefuseNext(MakeError(ErrorReason::kDeadlineUnmeetable, "too late"));
  const grpc::Status status = EncodeWithRetries();
  EXPECT_EQ(Info(status).reason(), "DEADLINE_UNMEETABLE");
  EXPECT_EQ(metrics_.AwaitEnded(1).size(), 1u);
}

TEST_F(EncodeTest, AnUnmeetableDeadlineForbidsRetries) {
  Start();
  scheduler_.RefuseNext(MakeError(ErrorReason::kDeadlineUnmeetable, "too late"));
  const Result result = CallEncode(MakeRequest({{1}})).get();
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Info(result.status).reason(), "DEADLINE_UNMEETABLE");
  EXPECT_EQ(result.pushback, "-1");
}

TEST_F(EncodeTest, TheCallersDeadlineIsCappedByTheServers) {
  Start({.max_deadline_seconds = 50});
  const Instant before = clock_.Now();
  auto none = CallEncode(MakeRequest({{1}}));
  ManualScheduler::Request& first = scheduler_.AwaitSubmitted(1);
  EXPECT_GE(first.terms.deadline, before + seconds(50));
  EXPECT_LE(first.terms.deadline, clock_.Now() + seconds(50));
  ComputeAll(first);

  auto years = std::make_shared<grpc::ClientContext>();
  years->set_deadline(std::chrono::system_clock::now() + std::chrono::hours(24 * 365 * 20));
  auto enormous = CallEncode(MakeRequest({{1}}), years);
  ManualScheduler::Request& second = scheduler_.AwaitSubmitted(2);
  EXPECT_LE(second.terms.deadline, clock_.Now() + seconds(50));
  ComputeAll(second);

  auto soon = std::make_shared<grpc::ClientContext>();
  soon->set_deadline(std::chrono::system_clock::now() + seconds(20));
  auto shorter = CallEncode(MakeRequest({{1}}), soon);
  ManualScheduler::Request& third = scheduler_.AwaitSubmitted(3);
  EXPECT_LE(third.terms.deadline, clock_.Now() + seconds(21));  // gRPC rounds up a little
  ComputeAll(third);
  EXPECT_TRUE(none.get().status.ok());
  EXPECT_TRUE(enormous.get().status.ok());
  EXPECT_TRUE(shorter.get().status.ok());
}

TEST_F(EncodeTest, CancellingReachesTheScheduler) {
  Start();
  auto context = std::make_shared<grpc::ClientContext>();
  auto call = CallEncode(MakeRequest({{1, 2}, {3}}), context);
  ManualScheduler::Request& submitted = scheduler_.AwaitSubmitted(1);
  Compute(submitted, 0);
  context->TryCancel();
  const absl::Status reason = scheduler_.AwaitCancelled(submitted.ticket);
  EXPECT_EQ(GetErrorDetails(reason).reason, ErrorReason::kCancelled);
  EXPECT_EQ(call.get().status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(OnlyRecord().record.code, absl::StatusCode::kCancelled);
}

TEST_F(EncodeTest, TheCallersDeadlineEndsTheWork) {
  Start();
  auto context = std::make_shared<grpc::ClientContext>();
  context->set_deadline(std::chrono::system_clock::now() + seconds(1));
  auto call = CallEncode(MakeRequest({{1}}), context);
  ManualScheduler::Request& submitted = scheduler_.AwaitSubmitted(1);
  EXPECT_EQ(call.get().status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_FALSE(scheduler_.AwaitCancelled(submitted.ticket).ok());
  EXPECT_NE(OnlyRecord().record.code, absl::StatusCode::kOk);
}

TEST_F(EncodeTest, OneFailedSequenceFailsTheCallAndCancelsItsMates) {
  Start();
  auto call = CallEncode(MakeRequest({{1}, {2}, {3}}));
  ManualScheduler::Request& submitted = scheduler_.AwaitSubmitted(1);
  Compute(submitted, 2);
  scheduler_.End(submitted, 1, MakeError(ErrorReason::kNonFinite, "a row is not finite"));
  const absl::Status reason = scheduler_.AwaitCancelled(submitted.ticket);
  EXPECT_EQ(GetErrorDetails(reason).reason, ErrorReason::kNonFinite);
  const Result result = call.get();
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(Info(result.status).reason(), "NON_FINITE");
  EXPECT_EQ(result.response.ByteSizeLong(), 0u);
  EXPECT_EQ(metrics_.AwaitEnded(1).size(), 1u) << "one request, reported once";
}

TEST_F(EncodeTest, ADeadDeviceIsUnavailable) {
  Start();
  encoder_.AddFault({.kind = FakeFault::Kind::kDeviceLost, .at = FakeFault::At::kBegin});
  EncoderBatch batch;
  batch.Add({1});
  EXPECT_FALSE(encoder_.Begin(std::move(batch), {OutputSpec{}}, nullptr).ok());
  const Result result = CallEncode(MakeRequest({{1}})).get();
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Info(result.status).reason(), "DEVICE_LOST");
}

TEST_F(EncodeTest, PriorityAndRouteReachTheScheduler) {
  Start({.limits = {.allow_route_override = true}});
  v1::EncodeRequest request = MakeRequest({{1}});
  request.set_priority(v1::PRIORITY_BATCH);
  request.set_route_override(v1::ROUTE_FFT);
  auto call = CallEncode(request);
  ManualScheduler::Request& submitted = scheduler_.AwaitSubmitted(1);
  EXPECT_EQ(submitted.terms.priority, Priority::kBatch);
  EXPECT_EQ(submitted.tasks[0].route, Route::kFft);
  ComputeAll(submitted);
  EXPECT_TRUE(call.get().status.ok());
  EXPECT_EQ(OnlyRecord().priority, "batch");
}

TEST_F(EncodeTest, AboveTheReceiveLimitGrpcRefusesAndTheServerLives) {
  Start();
  const int64_t limit = MaxReceiveBytes(encoder_.Info().max_tokens);
  v1::EncodeRequest request = MakeRequest({{1}});
  request.mutable_tokens()->set_ids(std::string(static_cast<size_t>(limit), '\0'));
  EXPECT_EQ(CallEncode(request).get().status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  auto call = CallEncode(MakeRequest({{1}}));
  ComputeAll(scheduler_.AwaitSubmitted(1));
  EXPECT_TRUE(call.get().status.ok());
}

TEST_F(EncodeTest, ManyCallsAtOnceGetTheirOwnAnswers) {
  Start();
  constexpr uint32_t kCalls = 50;
  std::vector<std::future<Result>> calls;
  for (uint32_t i = 0; i < kCalls; ++i) calls.push_back(CallEncode(MakeRequest({{i, i + 1}})));
  for (uint32_t i = kCalls; i > 0; --i) scheduler_.AwaitSubmitted(i);
  for (uint32_t i = kCalls; i > 0; --i) ComputeAll(scheduler_.AwaitSubmitted(i));
  OutputSpec output;
  output.normalize = encoder_.Info().default_normalize;
  for (uint32_t i = 0; i < kCalls; ++i) {
    const Result result = calls[i].get();
    ASSERT_TRUE(result.status.ok());
    const auto id = static_cast<int32_t>(i);
    EXPECT_EQ(Floats(result.response.embeddings().data()),
              encoder_.ExpectedRows({id, id + 1}, output));
  }
  EXPECT_EQ(metrics_.AwaitEnded(kCalls).size(), kCalls);
}

TEST_F(EncodeTest, AReplyIsWrittenBesideTheExecutorWhileOthersWait) {
  Start();
  auto first = CallEncode(MakeRequest({{1}}));
  ManualScheduler::Request& computed = scheduler_.AwaitSubmitted(1);
  auto second = CallEncode(MakeRequest({{2}}));
  ManualScheduler::Request& waiting = scheduler_.AwaitSubmitted(2);
  ComputeAll(computed);  // this thread is the executor
  EXPECT_TRUE(first.get().status.ok());
  EXPECT_NE(metrics_.AwaitEnded(1)[0].thread, std::this_thread::get_id());

  ComputeAll(waiting);  // nobody else waits: no other thread needs to wake
  EXPECT_TRUE(second.get().status.ok());
  EXPECT_EQ(metrics_.AwaitEnded(2)[1].thread, std::this_thread::get_id());
}

}  // namespace
}  // namespace longwave
