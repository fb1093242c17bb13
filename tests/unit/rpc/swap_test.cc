// Another version of the model takes over while calls are under way.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/unit/rpc/rpc_fixture.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

class SwapTest : public RpcFixture {
 protected:
  static std::shared_ptr<ServedModel> NewModel(const std::string& version) {
    FakeEncoderOptions options;
    options.info.version = version;
    options.info.weights_digest = "digest-" + version;
    options.info.fingerprint = "fingerprint-" + version;
    options.row_seed = std::stoull(version);
    return std::make_shared<ServedModel>(std::make_shared<FakeEncoder>(options));
  }
  // Computes with the model that the task names, as the executor does.
  void ComputeAsTold(ManualScheduler::Request& request) {
    for (size_t s = 0; s < request.tasks.size(); ++s) {
      SequenceTask& task = request.tasks[s];
      auto& encoder = static_cast<FakeEncoder&>(*task.model->encoder);
      const std::vector<float> values = encoder.ExpectedRows(task.token_ids, task.output);
      const int64_t rows = task.output.RowCount(static_cast<int64_t>(task.token_ids.size()));
      task.consumer->OnRows(
          0, {.values = values, .rows = rows, .dim = static_cast<int64_t>(values.size()) / rows});
      task.model = nullptr;
      scheduler_.End(request, s, SequenceReport{.route = Route::kChunkwise});
    }
  }
  static std::vector<float> Expected(const ServedModel& model, const std::vector<int32_t>& ids) {
    OutputSpec output;
    output.normalize = model.encoder->Info().default_normalize;
    return static_cast<FakeEncoder&>(*model.encoder).ExpectedRows(ids, output);
  }
  static std::vector<float> Values(const v1::EmbeddingBlock& block) {
    std::vector<float> values(block.data().size() / sizeof(float));
    std::memcpy(values.data(), block.data().data(), block.data().size());
    return values;
  }
  std::vector<std::pair<std::string, v1::ModelState>> List() {
    v1::ListModelsResponse response;
    grpc::ClientContext context;
    EXPECT_TRUE(stub_->ListModels(&context, {}, &response).ok());
    std::vector<std::pair<std::string, v1::ModelState>> models;
    for (const v1::Model& model : response.models()) {
      models.emplace_back(model.version(), model.state());
    }
    return models;
  }
  grpc::Status Get(const std::string& version, v1::GetModelResponse* response) {
    v1::GetModelRequest request;
    request.set_model_version(version);
    grpc::ClientContext context;
    return stub_->GetModel(&context, request, response);
  }
};

TEST_F(SwapTest, ACallEndsWithTheVersionThatItBeganWith) {
  Start();
  auto first = NewModel("2");
  const auto second = NewModel("3");
  ASSERT_TRUE(server_->Swap(first));
  auto old_call = CallEncode(MakeRequest({{1, 2, 3}}));
  ManualScheduler::Request& old_request = scheduler_.AwaitSubmitted(1);
  ASSERT_TRUE(server_->Swap(second));
  auto new_call = CallEncode(MakeRequest({{1, 2, 3}}));
  ComputeAsTold(scheduler_.AwaitSubmitted(2));
  const Result after = new_call.get();
  ASSERT_TRUE(after.status.ok());
  EXPECT_EQ(after.response.model_version(), "3");
  EXPECT_EQ(after.response.model_digest(), "digest-3");
  EXPECT_EQ(after.response.execution().fingerprint(), "fingerprint-3");
  EXPECT_EQ(Values(after.response.embeddings()), Expected(*second, {1, 2, 3}));

  ComputeAsTold(old_request);
  const Result before = old_call.get();
  ASSERT_TRUE(before.status.ok());
  EXPECT_EQ(before.response.model_version(), "2");
  EXPECT_EQ(before.response.model_digest(), "digest-2");
  EXPECT_EQ(before.response.execution().fingerprint(), "fingerprint-2");
  EXPECT_EQ(Values(before.response.embeddings()), Expected(*first, {1, 2, 3}));
  EXPECT_NE(Expected(*first, {1, 2, 3}), Expected(*second, {1, 2, 3}));
}

TEST_F(SwapTest, EachTagOfAStreamHasTheVersionOfItsOpen) {
  Start();
  grpc::ClientContext context;
  auto stream = stub_->EncodeStream(&context);
  const auto open = [&](uint64_t tag) {
    v1::EncodeStreamRequest message;
    message.set_tag(tag);
    *message.mutable_open()->mutable_request() = MakeRequest({{}});
    v1::TokenBatch& tokens = *message.mutable_open()->mutable_request()->mutable_tokens();
    tokens.set_lengths(0, 2);
    tokens.set_id_width(v1::ID_WIDTH_U8);
    EXPECT_TRUE(stream->Write(message));
    v1::EncodeStreamResponse accepted;
    EXPECT_TRUE(stream->Read(&accepted));
    EXPECT_TRUE(accepted.has_accepted()) << accepted.ShortDebugString();
    return accepted.accepted().fingerprint();
  };
  const auto finish = [&](uint64_t tag, size_t submitted) {
    v1::EncodeStreamRequest message;
    message.set_tag(tag);
    message.mutable_data()->set_ids(std::string("\1\2"));
    EXPECT_TRUE(stream->Write(message));
    message.mutable_end();
    EXPECT_TRUE(stream->Write(message));
    ComputeAsTold(scheduler_.AwaitSubmitted(submitted));
    v1::EncodeStreamResponse chunk;
    v1::EncodeStreamResponse done;
    EXPECT_TRUE(stream->Read(&chunk));
    EXPECT_TRUE(stream->Read(&done));
    EXPECT_EQ(done.tag(), tag);
    EXPECT_TRUE(done.has_done()) << done.ShortDebugString();
    return std::make_pair(done.done(), Values(chunk.chunk().embeddings()));
  };
  auto first = NewModel("2");
  const auto second = NewModel("3");
  ASSERT_TRUE(server_->Swap(first));
  EXPECT_EQ(open(1), "fingerprint-2");
  ASSERT_TRUE(server_->Swap(second));
  EXPECT_EQ(open(2), "fingerprint-3");
  const auto [new_done, new_rows] = finish(2, 1);
  EXPECT_EQ(new_done.model_digest(), "digest-3");
  EXPECT_EQ(new_rows, Expected(*second, {1, 2}));
  const auto [old_done, old_rows] = finish(1, 2);
  EXPECT_EQ(old_done.model_version(), "2");
  EXPECT_EQ(old_done.model_digest(), "digest-2");
  EXPECT_EQ(old_done.execution().fingerprint(), "fingerprint-2");
  EXPECT_EQ(old_rows, Expected(*first, {1, 2}));
  // The stream goes on, the version does not.
  const std::weak_ptr<ServedModel> old = first;
  first = nullptr;
  metrics_.AwaitEnded(2);
  EXPECT_EQ(open(3), "fingerprint-3");
  EXPECT_TRUE(old.expired());
  stream->WritesDone();
  context.TryCancel();
}

TEST_F(SwapTest, VersionsAreListedWithTheirStates) {
  Start();
  auto first = NewModel("2");
  ASSERT_TRUE(server_->Swap(first));
  auto call = CallEncode(MakeRequest({{1}}));
  ManualScheduler::Request& request = scheduler_.AwaitSubmitted(1);
  ASSERT_TRUE(server_->Swap(NewModel("3")));
  first = nullptr;
  server_->SetUnserved({{.version = "4"}, {.version = "5", .failed = true}});
  // The model of the fixture is kept by the fixture.
  EXPECT_THAT(List(),
              ElementsAre(Pair("3", v1::MODEL_STATE_READY), Pair("2", v1::MODEL_STATE_DRAINING),
                          Pair("1", v1::MODEL_STATE_DRAINING), Pair("4", v1::MODEL_STATE_LOADING),
                          Pair("5", v1::MODEL_STATE_FAILED)));
  v1::GetModelResponse response;
  ASSERT_TRUE(Get("2", &response).ok());
  EXPECT_EQ(response.model().state(), v1::MODEL_STATE_DRAINING);
  EXPECT_EQ(response.model().weights_digest(), "digest-2");
  ASSERT_TRUE(Get("5", &response).ok());
  EXPECT_EQ(response.model().state(), v1::MODEL_STATE_FAILED);
  ASSERT_TRUE(Get("", &response).ok());
  EXPECT_EQ(response.model().version(), "3");
  EXPECT_EQ(Get("6", &response).error_code(), grpc::StatusCode::NOT_FOUND);

  ComputeAsTold(request);
  EXPECT_TRUE(call.get().status.ok());
  server_->SetUnserved({});
  metrics_.AwaitEnded(1);
  // The call's reactor may live a moment longer than the call.
  while (List().size() > 2) {
  }
  EXPECT_THAT(List(),
              ElementsAre(Pair("3", v1::MODEL_STATE_READY), Pair("1", v1::MODEL_STATE_DRAINING)));
}

TEST_F(SwapTest, OnlyTheVersionInServiceMayBeAskedForByName) {
  Start();
  auto first = NewModel("2");
  ASSERT_TRUE(server_->Swap(first));
  ASSERT_TRUE(server_->Swap(NewModel("3")));
  v1::EncodeRequest request = MakeRequest({{1}});
  request.set_model_version("2");
  const Result old = CallEncode(request).get();
  EXPECT_EQ(old.status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Info(old.status).reason(), "UNKNOWN_MODEL");
  request.set_model_version("3");
  auto call = CallEncode(request);
  ComputeAsTold(scheduler_.AwaitSubmitted(1));
  EXPECT_TRUE(call.get().status.ok());
}

TEST_F(SwapTest, ThereIsNoSwapBeforeServingOrWhileDraining) {
  Start({}, /*serve=*/false);
  EXPECT_FALSE(server_->Swap(NewModel("2")));
  Serve();
  EXPECT_TRUE(server_->Swap(NewModel("3")));
  server_->Drain(clock_.Now(), [] {});
  EXPECT_FALSE(server_->Swap(NewModel("4")));
}

}  // namespace
}  // namespace longwave
