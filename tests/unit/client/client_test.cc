#include "client/client.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/unit/client/scripted_server.h"

namespace longwave::client {
namespace {

class ClientTest : public testing::Test {
 protected:
  ClientTest() {
    ClientOptions options;
    options.target = server_.target();
    client_ = std::move(Client::Create(options)).value();
  }

  // Every row is the one of its own sequence.
  void ExpectRows(const EncodeResult& result, const std::vector<std::vector<uint32_t>>& sequences) {
    ASSERT_EQ(result.sequences().size(), sequences.size());
    for (size_t s = 0; s < sequences.size(); ++s) {
      const auto values = result.sequence_values(s);
      const int64_t rows = result.sequences()[s].rows;
      ASSERT_EQ(values.size(), rows * result.dim()) << s;
      for (int64_t i = 0; i < rows * result.dim(); ++i) {
        ASSERT_EQ(values[i], ExpectedValue(sequences[s], i / result.dim(), i % result.dim()))
            << "sequence " << s << ", value " << i;
      }
    }
  }

  ScriptedServer server_;
  std::unique_ptr<Client> client_;
};

TEST_F(ClientTest, ReturnsOneRowASequenceAndHowItWasComputed) {
  const auto sequences = MakeSequences(5, 50, 256);
  EncodeOptions options;
  options.request_id = "id-1";
  const auto result = client_->Encode(Views(sequences), options);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->rows(), 5);
  EXPECT_EQ(result->dim(), 16);
  ExpectRows(*result, sequences);
  EXPECT_EQ(result->row(3)[2], ExpectedValue(sequences[3], 0, 2));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(result->values().data()) % 64, 0);
  EXPECT_EQ(result->model_digest(), "weights-a");
  EXPECT_EQ(result->sequences()[1].tokens_in, sequences[1].size());
  EXPECT_EQ(result->sequences()[1].route, v1::ROUTE_CHUNKWISE);
  ASSERT_EQ(result->requests().size(), 1);
  EXPECT_EQ(result->requests()[0].request_id, "id-1");
  EXPECT_EQ(result->requests()[0].execution.fingerprint(), "weights-a cpu");
  EXPECT_EQ(result->requests()[0].timings.compute().nanos(), 5'000'000);
  ASSERT_EQ(server_.requests().size(), 1);
  EXPECT_EQ(server_.requests()[0].tokens().id_width(), v1::ID_WIDTH_U8);
}

TEST_F(ClientTest, ALongListTravelsInPartsAndComesBackInOrder) {
  const auto sequences = MakeSequences(200, 100, 1000);
  EncodeOptions options;
  options.tokens_per_request = 500;
  options.request_id = "id";
  const auto result = client_->Encode(Views(sequences), options);
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectRows(*result, sequences);
  const auto requests = server_.requests();
  EXPECT_GT(requests.size(), 10);
  EXPECT_EQ(result->requests().size(), requests.size());
  for (const auto& request : requests) {
    uint32_t tokens = 0;
    for (const uint32_t length : request.tokens().lengths()) tokens += length;
    EXPECT_LE(tokens, 500);
  }
  EXPECT_EQ(result->requests()[0].request_id, "id/0");
}

TEST_F(ClientTest, ManyRowsASequenceAndEveryWireType) {
  const auto sequences = MakeSequences(7, 20, 1000);
  EncodeOptions options;
  options.pooling = v1::POOLING_NONE;
  options.tokens_per_request = 30;
  for (const auto dtype :
       {v1::DATA_TYPE_FP32, v1::DATA_TYPE_FP16, v1::DATA_TYPE_BF16, v1::DATA_TYPE_INT8}) {
    options.dtype = dtype;
    const auto result = client_->Encode(Views(sequences), options);
    ASSERT_TRUE(result.ok()) << result.status();
    ExpectRows(*result, sequences);
  }
}

TEST_F(ClientTest, NeverHasMoreRequestsUnderWayThanAllowed) {
  std::mutex mutex;
  std::condition_variable changed;
  int now = 0;
  int most = 0;
  server_.on_encode = [&](int number, grpc::ServerContext*, const v1::EncodeRequest&) {
    std::unique_lock<std::mutex> lock(mutex);
    most = std::max(most, ++now);
    changed.notify_all();
    // The first two wait for each other: a client that sent one at a time would hang here.
    if (number < 2) changed.wait(lock, [&] { return most >= 2; });
    --now;
    return grpc::Status::OK;
  };
  const auto sequences = MakeSequences(40, 10, 256);
  EncodeOptions options;
  options.tokens_per_request = 1;
  options.max_in_flight = 2;
  const auto result = client_->Encode(Views(sequences), options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(server_.requests().size(), 40);
  EXPECT_EQ(most, 2);
}

TEST_F(ClientTest, TriesAgainWhenTheServerNamesADelay) {
  std::vector<std::string> previous_attempts;
  server_.on_encode = [&](int number, grpc::ServerContext* context, const v1::EncodeRequest&) {
    const auto it = context->client_metadata().find("grpc-previous-rpc-attempts");
    previous_attempts.push_back(it == context->client_metadata().end()
                                    ? "0"
                                    : std::string(it->second.data(), it->second.size()));
    if (number >= 2) return grpc::Status::OK;
    context->AddTrailingMetadata("grpc-retry-pushback-ms", "1");
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full");
  };
  const auto sequences = MakeSequences(1, 10, 256);
  const auto result = client_->Encode(Views(sequences));
  ASSERT_TRUE(result.ok()) << result.status();
  ExpectRows(*result, sequences);
  EXPECT_EQ(previous_attempts, (std::vector<std::string>{"0", "1", "2"}));
}

TEST_F(ClientTest, DoesNotTryAgainWhenTheServerForbidsIt) {
  server_.on_encode = [](int, grpc::ServerContext* context, const v1::EncodeRequest&) {
    context->AddTrailingMetadata("grpc-retry-pushback-ms", "-1");
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "the deadline cannot be met");
  };
  const auto result = client_->Encode(Views(MakeSequences(1, 10, 256)));
  EXPECT_EQ(result.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(server_.requests().size(), 1);
}

// gRPC drops the wish to retry when a request is above grpc.per_rpc_retry_buffer_size, which is
// 256 KiB unless the client raises it.
TEST_F(ClientTest, TriesLargeRequestsAgainToo) {
  server_.on_encode = [](int number, grpc::ServerContext* context, const v1::EncodeRequest&) {
    if (number >= 1) return grpc::Status::OK;
    context->AddTrailingMetadata("grpc-retry-pushback-ms", "1");
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
  };
  std::vector<std::vector<uint32_t>> sequences(1);
  for (uint32_t i = 0; i < 1'000'000; ++i) sequences[0].push_back(i % 1000);  // 2 MB
  const auto result = client_->Encode(Views(sequences));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(server_.requests().size(), 2);
}

TEST_F(ClientTest, TriesAgainWhatAServerThatShutsDownCutOff) {
  server_.on_encode = [](int number, grpc::ServerContext*, const v1::EncodeRequest&) {
    return number == 0 ? grpc::Status::CANCELLED : grpc::Status::OK;
  };
  EXPECT_TRUE(client_->Encode(Views(MakeSequences(1, 10, 256))).ok());
  EXPECT_EQ(server_.requests().size(), 2);
}

TEST_F(ClientTest, GivesUpAfterFourAttempts) {
  server_.on_encode = [](int, grpc::ServerContext* context, const v1::EncodeRequest&) {
    context->AddTrailingMetadata("grpc-retry-pushback-ms", "1");
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
  };
  const auto result = client_->Encode(Views(MakeSequences(1, 10, 256)));
  EXPECT_TRUE(absl::IsUnavailable(result.status()));
  EXPECT_EQ(server_.requests().size(), 4);
}

grpc::Status TokenOutOfRange() {
  google::rpc::Status details;
  details.set_code(grpc::StatusCode::INVALID_ARGUMENT);
  google::rpc::ErrorInfo info;
  info.set_reason("TOKEN_OUT_OF_RANGE");
  (*info.mutable_metadata())["limit"] = "1000";
  details.add_details()->PackFrom(info);
  return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "token out of range",
                      details.SerializeAsString());
}

// Refuses every request with a sequence of exactly `length` tokens.
auto RefuseLength(uint32_t length) {
  return [length](int, grpc::ServerContext*, const v1::EncodeRequest& request) {
    for (const uint32_t each : request.tokens().lengths()) {
      if (each == length) return TokenOutOfRange();
    }
    return grpc::Status::OK;
  };
}

TEST_F(ClientTest, OneBadSequenceFailsTheCallAndSaysWhere) {
  server_.on_encode = RefuseLength(77);
  std::vector<std::vector<uint32_t>> sequences(10, std::vector<uint32_t>(20, 1));
  sequences[6].resize(77);
  EncodeOptions options;
  options.tokens_per_request = 100;
  const auto result = client_->Encode(Views(sequences), options);
  ASSERT_TRUE(absl::IsInvalidArgument(result.status())) << result.status();
  EXPECT_EQ(result.status().message(), "sequences 5 to 6: token out of range");
  EXPECT_EQ(GetErrorInfo(result.status()).reason, "TOKEN_OUT_OF_RANGE");
  EXPECT_EQ(GetErrorInfo(result.status()).limit, "1000");
}

TEST_F(ClientTest, WithKeepGoingOneBadSequenceCostsNobodyElse) {
  server_.on_encode = RefuseLength(77);
  std::vector<std::vector<uint32_t>> sequences = MakeSequences(10, 20, 256);
  sequences[6] = std::vector<uint32_t>(77, 1);
  EncodeOptions options;
  options.keep_going = true;
  const auto result = client_->Encode(Views(sequences), options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->rows(), 9);
  for (size_t s = 0; s < sequences.size(); ++s) {
    const SequenceResult& info = result->sequences()[s];
    EXPECT_EQ(info.status.ok(), s != 6) << s;
    EXPECT_EQ(info.rows, s != 6) << s;
    if (s != 6) {
      EXPECT_EQ(result->sequence_values(s)[0], ExpectedValue(sequences[s], 0, 0)) << s;
    }
  }
  EXPECT_EQ(GetErrorInfo(result->sequences()[6].status).reason, "TOKEN_OUT_OF_RANGE");
}

TEST_F(ClientTest, ASequenceThatOnlyAStreamTakesIsNotSent) {
  server_.model.mutable_limits()->set_max_tokens_per_request(100);
  std::vector<std::vector<uint32_t>> sequences = {std::vector<uint32_t>(101, 1), {1, 2}};
  EXPECT_EQ(GetErrorInfo(client_->Encode(Views(sequences)).status()).reason, "REQUEST_TOO_LARGE");
  EXPECT_TRUE(server_.requests().empty());
  EncodeOptions options;
  options.keep_going = true;
  const auto result = client_->Encode(Views(sequences), options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(result->sequences()[0].status.ok());
  EXPECT_TRUE(result->sequences()[1].status.ok());
}

TEST_F(ClientTest, DoesNotMixVectorsOfDifferentWeights) {
  server_.on_reply = [](int number, v1::EncodeResponse* response) {
    if (number == 2) response->set_model_digest("weights-b");
  };
  EncodeOptions options;
  options.tokens_per_request = 1;
  options.max_in_flight = 1;
  const auto result = client_->Encode(Views(MakeSequences(4, 10, 256)), options);
  EXPECT_TRUE(absl::IsFailedPrecondition(result.status())) << result.status();
  EXPECT_EQ(GetErrorInfo(result.status()).reason, "MODEL_CHANGED");
}

TEST_F(ClientTest, RefusesRepliesThatDoNotFit) {
  const auto sequences = MakeSequences(2, 10, 256);
  const auto views = Views(sequences);
  const std::vector<std::function<void(v1::EncodeResponse*)>> spoil = {
      [](v1::EncodeResponse* reply) { reply->mutable_sequences()->RemoveLast(); },
      [](v1::EncodeResponse* reply) { reply->mutable_sequences(0)->set_rows(5); },
      [](v1::EncodeResponse* reply) { reply->mutable_embeddings()->mutable_data()->pop_back(); },
      [](v1::EncodeResponse* reply) { reply->mutable_embeddings()->set_dim(1 << 31); },
  };
  for (size_t i = 0; i < spoil.size(); ++i) {
    server_.on_reply = [&](int, v1::EncodeResponse* reply) { spoil[i](reply); };
    EXPECT_TRUE(absl::IsDataLoss(client_->Encode(views).status())) << i;
  }
}

TEST_F(ClientTest, AsksForTheModelOnceAndAgainWhenItHasChanged) {
  int asked = 0;
  server_.on_get_model = [&asked](grpc::ServerContext*) {
    ++asked;
    return grpc::Status::OK;
  };
  const auto views_of = MakeSequences(2, 10, 256);
  ASSERT_TRUE(client_->Encode(Views(views_of)).ok());
  ASSERT_TRUE(client_->Encode(Views(views_of)).ok());
  EXPECT_EQ(asked, 1);
  server_.model.set_fingerprint("weights-c cpu");
  ASSERT_TRUE(client_->Encode(Views(views_of)).ok());  // learns it from the reply
  ASSERT_TRUE(client_->Encode(Views(views_of)).ok());
  EXPECT_EQ(asked, 2);
}

TEST_F(ClientTest, ReportsWhyTheModelCannotBeHad) {
  server_.on_get_model = [](grpc::ServerContext*) {
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "no model x");
  };
  EXPECT_TRUE(absl::IsNotFound(client_->Encode(Views(MakeSequences(2, 10, 256))).status()));
}

TEST_F(ClientTest, ADeadlineEndsTheCall) {
  server_.on_encode = [](int, grpc::ServerContext* context, const v1::EncodeRequest&) {
    while (!context->IsCancelled()) std::this_thread::yield();  // never answers in time
    return grpc::Status::CANCELLED;
  };
  EncodeOptions options;
  options.timeout = absl::Milliseconds(50);
  const auto sequences = MakeSequences(2, 10, 256);
  const auto result = client_->Encode(Views(sequences), options);
  EXPECT_TRUE(absl::IsDeadlineExceeded(result.status())) << result.status();
}

TEST_F(ClientTest, DestroyingTheClientEndsWhatIsUnderWay) {
  std::promise<void> entered;
  std::promise<void> leave;
  server_.on_encode = [&](int number, grpc::ServerContext*, const v1::EncodeRequest&) {
    if (number == 0) entered.set_value();
    leave.get_future().wait();
    return grpc::Status::OK;
  };
  const auto sequences = MakeSequences(1, 10, 256);
  std::promise<absl::Status> ended;
  client_->EncodeAsync(Views(sequences), {}, [&ended](absl::StatusOr<EncodeResult> result) {
    ended.set_value(result.status());
  });
  entered.get_future().wait();
  client_.reset();
  auto future = ended.get_future();
  // The callback has run before the client was gone.
  ASSERT_EQ(future.wait_for(std::chrono::seconds(0)), std::future_status::ready);
  EXPECT_TRUE(absl::IsCancelled(future.get()));
  leave.set_value();
  server_.server()->Shutdown();  // the handler has left before its promises go
}

TEST_F(ClientTest, EstimatesAndDescribesWithoutComputing) {
  const auto estimate = client_->Estimate({100, 200});
  ASSERT_TRUE(estimate.ok()) << estimate.status();
  EXPECT_EQ(estimate->tokens(), 300);
  EXPECT_TRUE(estimate->admissible());
  const auto model = client_->GetModel();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->weights_digest(), "weights-a");
  EXPECT_TRUE(server_.requests().empty());
}

TEST_F(ClientTest, TellsHealth) {
  auto* health = server_.server()->GetHealthCheckService();
  health->SetServingStatus("live", true);
  health->SetServingStatus("ready", false);
  using Response = grpc::health::v1::HealthCheckResponse;
  EXPECT_EQ(client_->Health().value(), Response::SERVING);
  EXPECT_EQ(client_->Health("live").value(), Response::SERVING);
  EXPECT_EQ(client_->Health("ready").value(), Response::NOT_SERVING);
  EXPECT_TRUE(absl::IsNotFound(client_->Health("no such service").status()));
}

TEST(ClientCreateTest, AServerThatIsNotThereIsUnavailable) {
  ClientOptions options;
  options.target = "unix:///nonexistent/longwave.sock";
  const auto client = Client::Create(options);
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_TRUE(absl::IsUnavailable((*client)->GetModel().status()));
  EXPECT_TRUE(absl::IsUnavailable((*client)->Health().status()));
  EXPECT_TRUE(absl::IsUnavailable((*client)->Encode(Views({{1, 2}})).status()));
}

// What the server saw of a call's key; empty: none.
std::string KeyOf(const grpc::ServerContext& context) {
  const auto& metadata = context.client_metadata();
  EXPECT_LE(metadata.count("authorization"), 1u);
  const auto found = metadata.find("authorization");
  return found == metadata.end() ? "" : std::string(found->second.data(), found->second.size());
}

TEST(ClientKeyTest, TheKeyTravelsWithEveryCallAndEveryRetry) {
  ScriptedServer server;
  std::vector<std::string> seen;
  server.on_get_model = [&](grpc::ServerContext* context) {
    seen.push_back(KeyOf(*context));
    return grpc::Status::OK;
  };
  server.on_encode = [&](int number, grpc::ServerContext* context, const v1::EncodeRequest&) {
    seen.push_back(KeyOf(*context));
    return number == 0 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "again") : grpc::Status::OK;
  };
  server.on_stream = [&](int, StreamScript& script) {
    seen.push_back(KeyOf(*script.context));
    return script.ServeAll("print-a");
  };
  const auto client = Client::Create({.target = server.target(), .api_key = "k3y"});
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_TRUE((*client)->GetModel().ok());
  EXPECT_TRUE((*client)->Encode(Views({{1, 2}})).ok());
  const std::vector<uint32_t> ids = {1, 2, 3};
  auto reader = (*client)->OpenRows(ids, {.pooling = v1::POOLING_NONE});
  ASSERT_TRUE(reader.ok()) << reader.status();
  while (true) {
    const auto rows = (*reader)->Next();
    ASSERT_TRUE(rows.ok()) << rows.status();
    if (rows->rows == 0) break;
  }
  EXPECT_GE(seen.size(), 4u);
  for (const std::string& key : seen) EXPECT_EQ(key, "Bearer k3y");
}

TEST(ClientKeyTest, AKeyInPlaintextStaysOnThisMachineUnlessToldOtherwise) {
  EXPECT_TRUE(
      absl::IsInvalidArgument(Client::Create({.target = "encoder:1", .api_key = "k3y"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      Client::Create({.target = "127.0.0.1:1", .api_key = "two words"}).status()));
  EXPECT_TRUE(Client::Create({.target = "encoder:1",
                              .credentials = grpc::InsecureChannelCredentials(),
                              .api_key = "k3y"})
                  .ok());
}

TEST(ClientCreateTest, RefusesOptionsThatCannotWork) {
  EXPECT_TRUE(absl::IsInvalidArgument(Client::Create({.target = ""}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      Client::Create({.service_config_json = "{\"methodConfig\": 3}"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Client::Create({.max_receive_bytes = 0}).status()));
}

}  // namespace
}  // namespace longwave::client
