// The port itself: opening, reflection, compression, and the way it drains.
#include "server/rpc/rpc_server.h"

#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "model/base/error.h"
#include "tests/unit/rpc/rpc_fixture.h"

namespace longwave {
namespace {

using std::chrono::seconds;

class RpcServerTest : public RpcFixture {
 protected:
  // Whether the server knows a method at all.
  bool Knows(const std::string& method) {
    grpc::GenericStub generic(channel_);
    grpc::ClientContext context;
    grpc::ByteBuffer request;
    grpc::ByteBuffer response;
    std::promise<grpc::Status> done;
    const grpc::Slice empty;
    request = grpc::ByteBuffer(&empty, 1);
    generic.UnaryCall(&context, method, {}, &request, &response,
                      [&done](grpc::Status status) { done.set_value(std::move(status)); });
    return done.get_future().get().error_code() != grpc::StatusCode::UNIMPLEMENTED;
  }
};

constexpr char kReflection[] = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

TEST_F(RpcServerTest, ATakenPortIsAnError) {
  Start();
  const auto second = RpcServer::Create({.address = absl::StrCat("127.0.0.1:", server_->port())},
                                        {}, 1024, &clock_, nullptr, nullptr);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.status().message().find("--address"), absl::string_view::npos);
}

TEST_F(RpcServerTest, ReflectionIsThereOnlyIfAskedFor) {
  for (const bool enabled : {true, false}) {
    auto server = RpcServer::Create({.address = "127.0.0.1:0", .reflection = enabled}, {}, 1024,
                                    &clock_, nullptr, nullptr);
    ASSERT_TRUE(server.ok());
    server_ = *std::move(server);
    channel_ = NewChannel();
    EXPECT_EQ(Knows(kReflection), enabled);
    EXPECT_FALSE(Knows("/longwave.v1.EncoderService/Other"));
  }
}

TEST_F(RpcServerTest, CompressedRequestsAreNotTaken) {
  Start();
  auto context = std::make_shared<grpc::ClientContext>();
  context->set_compression_algorithm(GRPC_COMPRESS_GZIP);
  const Result result = CallEncode(MakeRequest({std::vector<uint32_t>(10'000, 1)}), context).get();
  EXPECT_EQ(result.status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(scheduler_.submitted(), 0u);
}

TEST_F(RpcServerTest, DrainLetsAcceptedCallsFinish) {
  Start();
  auto call = CallEncode(MakeRequest({{1}}));
  ManualScheduler::Request& submitted = scheduler_.AwaitSubmitted(1);
  std::thread drain([this] {
    EXPECT_TRUE(
        server_->Drain(clock_.Now() + seconds(60), [] { ADD_FAILURE() << "time is left"; }).clean);
  });
  ComputeAll(submitted);
  EXPECT_TRUE(call.get().status.ok());
  drain.join();
  EXPECT_EQ(CallEncode(MakeRequest({{1}})).get().status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(RpcServerTest, WhoeverIsRefusedAgainWhileItDrainsComesBackWhenThePortIsClosed) {
  FakeClock clock;  // stands still, and so the port refuses until it is hurried
  auto server =
      RpcServer::Create({.address = "127.0.0.1:0"}, {}, 1024, &clock, &metrics_, /*log=*/nullptr);
  ASSERT_TRUE(server.ok());
  server_ = *std::move(server);
  Serve();
  channel_ = NewChannel();
  stub_ = v1::EncoderService::NewStub(channel_);
  std::thread drain([&] { EXPECT_TRUE(server_->Drain(clock.Now() + seconds(60), [] {}).clean); });
  while (CallRaw("Encode", "no message").error_code() != grpc::StatusCode::UNAVAILABLE) {
  }

  const Result first = CallEncode(MakeRequest({{1}})).get();
  EXPECT_EQ(Info(first.status).reason(), "DRAINING");
  EXPECT_EQ(first.pushback, "");  // another replica may be asked at once
  auto context = std::make_shared<grpc::ClientContext>();
  context->AddMetadata("grpc-previous-rpc-attempts", "1");
  const Result second = CallEncode(MakeRequest({{1}}), context).get();
  EXPECT_EQ(Info(second.status).reason(), "DRAINING");
  int64_t pushback = 0;
  EXPECT_TRUE(absl::SimpleAtoi(second.pushback, &pushback)) << second.pushback;
  EXPECT_GE(pushback, kLongestUnrest.count());
  server_->Hurry();
  drain.join();
}

TEST_F(RpcServerTest, WhatIsLeftAtTheEndOfTheGraceGetsAStatus) {
  Start();
  auto call = CallEncode(MakeRequest({{1}}));
  ManualScheduler::Request& submitted = scheduler_.AwaitSubmitted(1);
  const auto outcome = server_->Drain(clock_.Now(), [&] {
    scheduler_.Cancel(submitted.ticket, MakeError(ErrorReason::kDraining, "shutting down"));
  });
  EXPECT_FALSE(outcome.clean);
  const Result answer = call.get();
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Info(answer.status).reason(), "DRAINING");
}

TEST_F(RpcServerTest, HurryEndsTheGrace) {
  Start();
  auto call = CallEncode(MakeRequest({{1}}));
  ManualScheduler::Request& submitted = scheduler_.AwaitSubmitted(1);
  std::thread hurry([this] { server_->Hurry(); });
  const auto outcome = server_->Drain(clock_.Now() + seconds(600), [&] {
    scheduler_.Cancel(submitted.ticket, MakeError(ErrorReason::kDraining, "shutting down"));
  });
  EXPECT_FALSE(outcome.clean);
  EXPECT_EQ(call.get().status.error_code(), grpc::StatusCode::UNAVAILABLE);
  hurry.join();
}

TEST_F(RpcServerTest, HurryWithoutCallsCutsNothing) {
  Start();
  server_->Hurry();
  EXPECT_TRUE(server_->Drain(clock_.Now() + seconds(600), [] {}).clean);
}

TEST_F(RpcServerTest, LingerWaitsOnlyUntilHurried) {
  Start();
  server_->Hurry();
  server_->Linger(clock_.Now() + std::chrono::hours(1));  // returns
}

TEST_F(RpcServerTest, DestroyingAnOpenServerEndsItsCalls) {
  Start();
  grpc::ClientContext context;
  const auto stream = stub_->EncodeStream(&context);
  v1::EncodeStreamRequest message;
  message.mutable_cancel();
  ASSERT_TRUE(stream->Write(message));
  server_.reset();
  v1::EncodeStreamResponse response;
  while (stream->Read(&response)) {
  }
  EXPECT_FALSE(stream->Finish().ok());
}

}  // namespace
}  // namespace longwave
