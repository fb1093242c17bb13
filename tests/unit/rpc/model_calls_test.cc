// GetModel, ListModels and EstimateEncode through the port.
#include <gtest/gtest.h>

#include "model/base/error.h"
#include "tests/unit/rpc/rpc_fixture.h"

namespace longwave {
namespace {

class ModelCallsTest : public RpcFixture {
 protected:
  grpc::Status GetModel(const v1::GetModelRequest& request, v1::GetModelResponse* response) {
    grpc::ClientContext context;
    return stub_->GetModel(&context, request, response);
  }
  grpc::Status Estimate(const v1::EstimateEncodeRequest& request,
                        v1::EstimateEncodeResponse* response) {
    grpc::ClientContext context;
    return stub_->EstimateEncode(&context, request, response);
  }
};

TEST_F(ModelCallsTest, GetModelSaysWhatTheEncoderIs) {
  Start({.limits = {.max_sequences = 7}});
  v1::GetModelResponse response;
  ASSERT_TRUE(GetModel({}, &response).ok());
  const EncoderInfo& info = encoder_.Info();
  const v1::Model& model = response.model();
  EXPECT_EQ(model.name(), info.model);
  EXPECT_EQ(model.version(), info.version);
  EXPECT_EQ(model.state(), v1::MODEL_STATE_READY);
  EXPECT_EQ(model.dim(), info.dim);
  EXPECT_EQ(model.layers(), info.layers);
  EXPECT_EQ(model.vocab_size(), info.vocab_size);
  EXPECT_EQ(model.max_tokens(), info.max_tokens);
  EXPECT_EQ(model.fingerprint(), info.fingerprint);
  EXPECT_EQ(model.tokenizer_fingerprint(), info.tokenizer_fingerprint);
  EXPECT_EQ(model.default_pooling(), v1::POOLING_MEAN);
  EXPECT_EQ(model.deterministic(), info.deterministic);
  EXPECT_EQ(static_cast<size_t>(model.routes_size()), info.routes.size());
  EXPECT_EQ(model.limits().max_sequences_per_request(), 7u);
  EXPECT_EQ(model.limits().max_receive_message_bytes(), 4u * info.max_tokens + (1 << 20));
  EXPECT_EQ(model.limits().max_chunk_bytes(), 1u << 20);
  EXPECT_EQ(model.api_versions(0), "longwave.v1");
}

TEST_F(ModelCallsTest, OtherNamesAndVersionsAreNotFound) {
  Start();
  v1::GetModelResponse response;
  v1::GetModelRequest request;
  request.set_model(encoder_.Info().model);
  request.set_model_version(encoder_.Info().version);
  EXPECT_TRUE(GetModel(request, &response).ok());
  request.set_model("../" + encoder_.Info().model);
  const grpc::Status status = GetModel(request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Info(status).reason(), "UNKNOWN_MODEL");
  request.set_model("");
  request.set_model_version("-1");
  EXPECT_EQ(GetModel(request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ModelCallsTest, ListModelsHasOnePage) {
  Start();
  v1::ListModelsResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->ListModels(&context, {}, &response).ok());
  ASSERT_EQ(response.models_size(), 1);
  EXPECT_EQ(response.models(0).name(), encoder_.Info().model);
  EXPECT_EQ(response.next_page_token(), "");
  v1::ListModelsRequest next;
  next.set_page_token("x");
  grpc::ClientContext again;
  EXPECT_EQ(stub_->ListModels(&again, next, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ModelCallsTest, EstimateSaysWhatWouldHappen) {
  Start();
  v1::EstimateEncodeRequest request;
  request.add_lengths(1000);
  request.add_lengths(24);
  v1::EstimateEncodeResponse response;
  ASSERT_TRUE(Estimate(request, &response).ok());
  const CostPrediction a = encoder_.Predict(1000, {}, Route::kAuto);
  const CostPrediction b = encoder_.Predict(24, {}, Route::kAuto);
  EXPECT_EQ(response.tokens(), 1024u);
  EXPECT_DOUBLE_EQ(response.predicted_seconds(), a.seconds + b.seconds);
  EXPECT_EQ(response.peak_bytes(), static_cast<uint64_t>(std::max(a.peak_bytes, b.peak_bytes)));
  EXPECT_EQ(response.slices(), static_cast<uint64_t>(a.slices + b.slices));
  EXPECT_DOUBLE_EQ(response.expected_wait_seconds(), 3);
  EXPECT_TRUE(response.admissible());
  EXPECT_EQ(scheduler_.submitted(), 0u);
}

TEST_F(ModelCallsTest, EstimateSaysWhyEncodeWouldBeRefusedNow) {
  Start();
  scheduler_.ForeseeNow(
      MakeError({.reason = ErrorReason::kQueueFull, .retry_after = Nanoseconds(1)}, "full"));
  v1::EstimateEncodeRequest request;
  request.add_lengths(10);
  v1::EstimateEncodeResponse response;
  ASSERT_TRUE(Estimate(request, &response).ok());
  EXPECT_FALSE(response.admissible());
  EXPECT_EQ(response.reason(), "QUEUE_FULL");
}

TEST_F(ModelCallsTest, EstimateTellsWhatOnlyAStreamCarries) {
  Start();
  v1::EstimateEncodeRequest request;
  request.add_lengths(1 << 20);
  request.mutable_output()->set_pooling(v1::POOLING_NONE);
  v1::EstimateEncodeResponse response;
  ASSERT_TRUE(Estimate(request, &response).ok());
  EXPECT_FALSE(response.admissible());
  EXPECT_EQ(response.reason(), "REQUEST_TOO_LARGE");
}

TEST_F(ModelCallsTest, EstimateRefusesWhatNothingCarries) {
  Start();
  v1::EstimateEncodeRequest request;
  request.add_lengths((1 << 20) + 1);
  v1::EstimateEncodeResponse response;
  const grpc::Status status = Estimate(request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Info(status).reason(), "SEQUENCE_TOO_LONG");
}

}  // namespace
}  // namespace longwave
