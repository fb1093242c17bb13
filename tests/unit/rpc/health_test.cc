// grpc.health.v1 through the port.
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/unit/rpc/rpc_fixture.h"

namespace longwave {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

class HealthTest : public RpcFixture {
 protected:
  HealthCheckResponse::ServingStatus Check(const std::string& name) {
    HealthCheckRequest request;
    request.set_service(name);
    HealthCheckResponse response;
    grpc::ClientContext context;
    const grpc::Status status = Health::NewStub(channel_)->Check(&context, request, &response);
    if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
      return HealthCheckResponse::SERVICE_UNKNOWN;
    }
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.status();
  }
};

TEST_F(HealthTest, NotServingUntilTheModelIs) {
  Start({}, /*serve=*/false);
  for (const char* name : {"", "longwave.v1.EncoderService", "longwave.startup"}) {
    EXPECT_EQ(Check(name), HealthCheckResponse::NOT_SERVING) << name;
  }
  EXPECT_EQ(Check("longwave.live"), HealthCheckResponse::SERVING);
  Serve();
  for (const char* name : {"", "longwave.v1.EncoderService", "longwave.startup", "longwave.live"}) {
    EXPECT_EQ(Check(name), HealthCheckResponse::SERVING) << name;
  }
  EXPECT_EQ(Check("other"), HealthCheckResponse::SERVICE_UNKNOWN);
}

TEST_F(HealthTest, DrainingIsNotReadyButAlive) {
  Start();
  server_->SetNotReady();
  EXPECT_EQ(Check(""), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(Check("longwave.v1.EncoderService"), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(Check("longwave.live"), HealthCheckResponse::SERVING);
  EXPECT_EQ(Check("longwave.startup"), HealthCheckResponse::SERVING);
}

TEST_F(HealthTest, WatchFollowsTheStateAndEndsWithTheServer) {
  Start({}, /*serve=*/false);
  grpc::ClientContext context;
  const auto stub = Health::NewStub(channel_);
  const auto watch = stub->Watch(&context, {});
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  Serve();
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  EXPECT_TRUE(server_->Drain(clock_.Now() + std::chrono::seconds(60), [] {}).clean)
      << "an open Watch does not hold up the end";
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_FALSE(watch->Read(&response));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(HealthTest, WatchOfAnUnknownServiceSaysSoAndStaysOpen) {
  Start();
  grpc::ClientContext context;
  HealthCheckRequest request;
  request.set_service("other");
  const auto stub = Health::NewStub(channel_);
  const auto watch = stub->Watch(&context, request);
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  context.TryCancel();
  EXPECT_FALSE(watch->Read(&response));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(HealthTest, WatchesAreBounded) {
  Start();
  const auto stub = Health::NewStub(channel_);
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<HealthCheckResponse>>> watches;
  HealthCheckResponse response;
  for (int i = 0; i < 256; ++i) {
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    watches.push_back(stub->Watch(contexts.back().get(), {}));
    ASSERT_TRUE(watches.back()->Read(&response));
  }
  grpc::ClientContext context;
  const auto one_more = stub->Watch(&context, {});
  ASSERT_TRUE(one_more->Read(&response));
  EXPECT_FALSE(one_more->Read(&response));
  EXPECT_EQ(one_more->Finish().error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(Check(""), HealthCheckResponse::SERVING);
  for (const auto& open : contexts) open->TryCancel();
}

TEST_F(HealthTest, BytesThatAreNoRequestAreRefused) {
  Start();
  grpc::GenericStub generic(channel_);
  grpc::ClientContext context;
  const grpc::Slice slice("\xff");
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer response;
  std::promise<grpc::Status> done;
  generic.UnaryCall(&context, "/grpc.health.v1.Health/Check", {}, &request, &response,
                    [&done](grpc::Status status) { done.set_value(std::move(status)); });
  EXPECT_EQ(done.get_future().get().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace longwave
