// ModelInfer and the protocol's questions through the port.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstring>
#include <future>

#include "inference/inference_service.grpc.pb.h"
#include "model/base/error.h"
#include "tests/unit/rpc/inference/infer_request.h"
#include "tests/unit/rpc/rpc_fixture.h"

namespace longwave {
namespace {

using inference::ModelInferRequest;
using inference::ModelInferResponse;
using ::testing::HasSubstr;

std::vector<float> Floats(const std::string& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

class InferTest : public RpcFixture {
 protected:
  struct Answer {
    grpc::Status status;
    ModelInferResponse response;
  };

  void Connect(CallOptions options = {}, bool serve = true) {
    Start(options, serve);
    inference_ = inference::GRPCInferenceService::NewStub(channel_);
  }
  std::future<Answer> Infer(const ModelInferRequest& request) {
    return std::async(std::launch::async, [this, request] {
      Answer answer;
      grpc::ClientContext context;
      answer.status = inference_->ModelInfer(&context, request, &answer.response);
      return answer;
    });
  }
  // Sends a request, computes it, and returns the answer.
  Answer Round(const ModelInferRequest& request, size_t number = 1) {
    auto call = Infer(request);
    ComputeAll(scheduler_.AwaitSubmitted(number));
    return call.get();
  }
  grpc::Status Refused(const ModelInferRequest& request) { return Infer(request).get().status; }

  std::unique_ptr<inference::GRPCInferenceService::Stub> inference_;
};

TEST_F(InferTest, AnswersWhatEncodeWouldAnswer) {
  Connect();
  ModelInferRequest request = MakeInfer({{1, 2, 3}, {4, 0, 0}});
  request.set_id("request-1");
  AddRawInput(request, "lengths", "INT32", {2, 1}, RawBytes<int32_t>({3, 1}));
  const Answer answer = Round(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  auto encode = CallEncode(MakeRequest({{1, 2, 3}, {4}}));
  ComputeAll(scheduler_.AwaitSubmitted(2));
  const v1::EncodeResponse same = encode.get().response;

  const ModelInferResponse& response = answer.response;
  EXPECT_EQ(response.id(), "request-1");
  EXPECT_EQ(response.model_name(), encoder_.Info().model);
  EXPECT_EQ(response.model_version(), encoder_.Info().version);
  ASSERT_EQ(response.outputs_size(), 2);
  ASSERT_EQ(response.raw_output_contents_size(), 2);
  EXPECT_EQ(response.outputs(0).name(), "embeddings");
  EXPECT_EQ(response.outputs(0).datatype(), "FP32");
  EXPECT_THAT(response.outputs(0).shape(), testing::ElementsAre(2, 16));
  EXPECT_EQ(response.raw_output_contents(0), same.embeddings().data());
  EXPECT_EQ(response.raw_output_contents(1), RawBytes<int32_t>({1, 1}));
  EXPECT_EQ(response.parameters().at("longwave_fingerprint").string_param(),
            same.execution().fingerprint());
  EXPECT_EQ(response.parameters().at("longwave_routes").string_param(), "chunkwise");
  EXPECT_EQ(response.parameters().count("longwave_truncated"), 0u);
  EXPECT_GT(response.parameters().at("longwave_total_ms").double_param(), 0);
}

TEST_F(InferTest, MetricsAndReplyHaveTheSameTimes) {
  Connect();
  const Answer answer = Round(MakeInfer({{1, 2, 3}}));
  const RequestRecord record = metrics_.AwaitEnded(1)[0].record;
  EXPECT_EQ(record.method, RpcMethod::kModelInfer);
  EXPECT_EQ(record.tokens, 3);
  EXPECT_EQ(answer.response.parameters().at("longwave_total_ms").double_param(),
            ToSeconds(record.stages.total) * 1e3);
}

TEST_F(InferTest, TypesOfOutputAndSelection) {
  Connect();
  ModelInferRequest request = MakeInfer({{1, 2, 3}});
  (*request.mutable_parameters())["dtype"].set_string_param("int8");
  Answer answer = Round(request, 1);
  ASSERT_EQ(answer.response.outputs_size(), 3);
  EXPECT_EQ(answer.response.outputs(0).datatype(), "INT8");
  EXPECT_EQ(answer.response.outputs(2).name(), "scales");
  EXPECT_EQ(answer.response.raw_output_contents(0).size(), 16u);
  EXPECT_EQ(answer.response.raw_output_contents(2).size(), sizeof(float));

  (*request.mutable_parameters())["dtype"].set_string_param("binary");
  request.add_outputs()->set_name("embeddings");
  answer = Round(request, 2);
  ASSERT_EQ(answer.response.outputs_size(), 1);
  EXPECT_EQ(answer.response.outputs(0).datatype(), "UINT8");
  EXPECT_THAT(answer.response.outputs(0).shape(), testing::ElementsAre(1, 2));

  (*request.mutable_parameters())["dtype"].set_string_param("fp32");
  (*request.mutable_parameters())["pooling"].set_string_param("none");
  request.mutable_outputs(0)->set_name("rows");
  answer = Round(request, 3);
  ASSERT_EQ(answer.response.outputs_size(), 1);
  EXPECT_EQ(answer.response.raw_output_contents(0), RawBytes<int32_t>({3}));
}

TEST_F(InferTest, LateChunkingBySpans) {
  Connect();
  ModelInferRequest request = MakeInfer({{1, 2, 3, 4}});
  (*request.mutable_parameters())["pooling"].set_string_param("spans");
  AddRawInput(request, "spans", "INT32", {2, 3}, RawBytes<int32_t>({0, 0, 2, 0, 2, 4}));
  const Answer answer = Round(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  const OutputSpec& output = scheduler_.AwaitSubmitted(1).tasks[0].output;
  EXPECT_EQ(Floats(answer.response.raw_output_contents(0)),
            encoder_.ExpectedRows({1, 2, 3, 4}, output));
  EXPECT_EQ(answer.response.raw_output_contents(1), RawBytes<int32_t>({2}));
}

TEST_F(InferTest, ErrorsOfTheValidatorCallFieldsWhatTheProtocolCallsThem) {
  Connect({.limits = {.max_sequences = 2}});
  const auto expect = [&](const ModelInferRequest& request, grpc::StatusCode code,
                          const std::string& reason, const std::string& field) {
    const grpc::Status status = Refused(request);
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_EQ(Info(status).reason(), reason);
    EXPECT_EQ(Info(status).metadata().at("field"), field);
    EXPECT_THAT(status.error_message(), HasSubstr("; " + field));
    EXPECT_EQ(status.error_message().find("tokens."), std::string::npos);
  };
  using grpc::StatusCode;
  ModelInferRequest request = MakeInfer({{1}});
  request.set_model_name("other");
  // Another model's inputs are not judged by this one's.
  request.mutable_inputs(0)->set_name("pixels");
  expect(request, StatusCode::NOT_FOUND, "UNKNOWN_MODEL", "model_name");
  request = MakeInfer({{1}});
  request.set_model_version("77");
  expect(request, StatusCode::NOT_FOUND, "UNKNOWN_MODEL", "model_version");
  request = MakeInfer({{1, 2}});
  AddRawInput(request, "lengths", "INT32", {1}, RawBytes<int32_t>({0}));
  expect(request, StatusCode::INVALID_ARGUMENT, "EMPTY_SEQUENCE", "inputs[lengths][0]");
  request = MakeInfer({{1}, {2}, {3}});
  expect(request, StatusCode::INVALID_ARGUMENT, "REQUEST_TOO_LARGE", "inputs[input_ids].shape");
  request = MakeInfer({{0}});
  AddRawInput(request, "attention_mask", "BOOL", {1, 1}, std::string(1, '\0'));
  expect(request, StatusCode::INVALID_ARGUMENT, "EMPTY_SEQUENCE", "inputs[attention_mask][0]");
  request = MakeInfer({{1}});
  request.set_id(std::string(200, 'x'));
  expect(request, StatusCode::INVALID_ARGUMENT, "INVALID_FIELD", "id");
  request = MakeInfer({{1}});
  (*request.mutable_parameters())["truncate_dim"].set_int64_param(5);
  expect(request, StatusCode::INVALID_ARGUMENT, "INVALID_FIELD", "parameters[truncate_dim]");
  request = MakeInfer({{1}});
  (*request.mutable_parameters())["tokenizer_fingerprint"].set_string_param("no");
  expect(request, StatusCode::INVALID_ARGUMENT, "INVALID_FIELD",
         "parameters[tokenizer_fingerprint]");
  request = MakeInfer({{1}});
  request.add_outputs()->set_name("logits");
  expect(request, StatusCode::INVALID_ARGUMENT, "INVALID_FIELD", "outputs[0].name");
  request = MakeInfer({{1}});
  request.add_outputs()->set_name("embeddings");
  (*request.mutable_outputs(0)->mutable_parameters())["shared_memory_region"].set_string_param("r");
  expect(request, StatusCode::UNIMPLEMENTED, "NOT_IMPLEMENTED",
         "outputs[0].parameters[shared_memory_region]");
  EXPECT_EQ(scheduler_.submitted(), 0u);
}

TEST_F(InferTest, ManySmallFieldsAreRefusedBeforeTheyAreBuilt) {
  Connect();
  ModelInferRequest request = MakeInfer({{1}});
  request.set_id("many");
  for (int i = 0; i < 1001; ++i) request.add_outputs();
  const grpc::Status status = Refused(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Info(status).reason(), "REQUEST_TOO_LARGE");
}

TEST_F(InferTest, TimeoutsShortenTheDeadline) {
  Connect();
  ModelInferRequest request = MakeInfer({{1}});
  (*request.mutable_parameters())["timeout"].set_int64_param(5'000'000);
  const Instant before = clock_.Now();
  auto call = Infer(request);
  auto& submitted = scheduler_.AwaitSubmitted(1);
  EXPECT_LE(submitted.terms.deadline, clock_.Now() + std::chrono::seconds(5));
  EXPECT_GE(submitted.terms.deadline, before + std::chrono::seconds(5));
  ComputeAll(submitted);
  EXPECT_TRUE(call.get().status.ok());
}

TEST_F(InferTest, ReadinessFollowsTheServer) {
  Connect({}, /*serve=*/false);
  const auto ready = [&] {
    grpc::ClientContext context;
    inference::ServerReadyResponse response;
    EXPECT_TRUE(inference_->ServerReady(&context, {}, &response).ok());
    return response.ready();
  };
  const auto model_ready = [&](const std::string& name, const std::string& version) {
    grpc::ClientContext context;
    inference::ModelReadyRequest request;
    request.set_name(name);
    request.set_version(version);
    inference::ModelReadyResponse response;
    EXPECT_TRUE(inference_->ModelReady(&context, request, &response).ok());
    return response.ready();
  };
  EXPECT_FALSE(ready());
  EXPECT_FALSE(model_ready("fake", ""));
  Serve();
  EXPECT_TRUE(ready());
  EXPECT_TRUE(model_ready("fake", ""));
  EXPECT_TRUE(model_ready("fake", encoder_.Info().version));
  EXPECT_FALSE(model_ready("fake", "77"));
  EXPECT_FALSE(model_ready("other", ""));
  grpc::ClientContext context;
  inference::ServerLiveResponse live;
  ASSERT_TRUE(inference_->ServerLive(&context, {}, &live).ok());
  EXPECT_TRUE(live.live());
}

TEST_F(InferTest, MetadataAndConfigurationAreThoseOfTheModel) {
  Connect({.limits = {.max_sequences = 7}});
  grpc::ClientContext context;
  inference::ModelMetadataRequest request;
  request.set_name("fake");
  inference::ModelMetadataResponse metadata;
  ASSERT_TRUE(inference_->ModelMetadata(&context, request, &metadata).ok());
  ASSERT_EQ(metadata.inputs_size(), 1);
  EXPECT_EQ(metadata.inputs(0).name(), "input_ids");
  EXPECT_THAT(metadata.inputs(0).shape(), testing::ElementsAre(-1, -1));
  ASSERT_EQ(metadata.outputs_size(), 2);
  EXPECT_THAT(metadata.outputs(0).shape(), testing::ElementsAre(-1, 16));
  EXPECT_EQ(metadata.versions(0), encoder_.Info().version);
  EXPECT_EQ(metadata.properties().at("fingerprint"), encoder_.Info().fingerprint);
  EXPECT_EQ(metadata.properties().at("vocab_size"), "1000");

  grpc::ClientContext config_context;
  inference::ModelConfigRequest config_request;
  config_request.set_name("fake");
  inference::ModelConfigResponse config;
  ASSERT_TRUE(inference_->ModelConfig(&config_context, config_request, &config).ok());
  EXPECT_EQ(config.config().max_batch_size(), 7);
  EXPECT_THAT(config.config().input(0).dims(), testing::ElementsAre(-1));
  EXPECT_THAT(config.config().output(0).dims(), testing::ElementsAre(16));

  grpc::ClientContext unknown_context;
  request.set_name("other");
  EXPECT_EQ(inference_->ModelMetadata(&unknown_context, request, &metadata).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(InferTest, WhereNothingIsCountedStatisticsAreNotAdvertised) {
  Connect();  // its metrics count nothing
  grpc::ClientContext context;
  inference::ServerMetadataResponse server;
  ASSERT_TRUE(inference_->ServerMetadata(&context, {}, &server).ok());
  EXPECT_THAT(server.extensions(), testing::Not(testing::Contains("statistics")));
  grpc::ClientContext statistics_context;
  inference::ModelStatisticsResponse statistics;
  EXPECT_EQ(inference_->ModelStatistics(&statistics_context, {}, &statistics).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace longwave
