#include "client/load/grpc_sender.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "tests/unit/client/scripted_server.h"

namespace longwave::load {
namespace {

using client::ScriptedServer;

// Keeps what came of each call, and lets a test wait for it.
class Results final : public CallObserver {
 public:
  void OnDone(int64_t number, CallResult result) override {
    std::lock_guard<std::mutex> lock(mutex_);
    results_[number] = std::move(result);
    changed_.notify_all();
  }
  CallResult Await(int64_t number) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return results_.count(number) > 0; });
    return results_[number];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int64_t, CallResult> results_;
};

class GrpcSenderTest : public testing::Test {
 protected:
  std::unique_ptr<GrpcSender> Make(GroupCalls group = {}, bool retries = false) {
    GrpcSenderOptions options;
    options.targets = {server_.target()};
    options.retries = retries;
    options.connections = 2;
    options.api_key = "common";
    options.groups = {std::move(group)};
    auto sender = GrpcSender::Create(std::move(options));
    EXPECT_TRUE(sender.ok()) << sender.status();
    if (!sender.ok()) return nullptr;
    (*sender)->Use(&results_, &clock_);
    return *std::move(sender);
  }
  static PlannedCall Call(uint32_t tokens, uint16_t document) {
    return {.tokens = tokens, .document = document};
  }

  ScriptedServer server_;
  Results results_;
  SteadyLoadClock clock_;
};

TEST_F(GrpcSenderTest, SameDocumentSameIdsSameContent) {
  auto sender = Make();
  sender->Send(0, Call(30, 1));
  sender->Send(1, Call(30, 1));
  sender->Send(2, Call(30, 2));
  sender->Send(3, Call(31, 1));
  const CallResult first = results_.Await(0);
  EXPECT_EQ(first.code, absl::StatusCode::kOk);
  EXPECT_EQ(results_.Await(1).content, first.content);
  EXPECT_NE(results_.Await(2).content, first.content);
  EXPECT_NE(results_.Await(3).content, first.content);
  EXPECT_FALSE(first.model_identity.empty());
}

TEST_F(GrpcSenderTest, AnEmptyReplyIsNoAnswer) {
  server_.on_reply = [](int, v1::EncodeResponse* response) { response->clear_embeddings(); };
  auto sender = Make();
  sender->Send(0, Call(30, 1));
  EXPECT_EQ(results_.Await(0).code, absl::StatusCode::kDataLoss);
}

TEST_F(GrpcSenderTest, SendsWhatTheGroupSays) {
  std::mutex mutex;
  std::string authorization;
  std::string extra;
  server_.on_encode = [&](int, grpc::ServerContext* context, const v1::EncodeRequest&) {
    std::lock_guard<std::mutex> lock(mutex);
    for (const auto& [key, value] : context->client_metadata()) {
      if (key == "authorization") authorization = std::string(value.data(), value.size());
      if (key == "x-extra") extra = std::string(value.data(), value.size());
    }
    return grpc::Status::OK;
  };
  GroupCalls group;
  group.priority = v1::PRIORITY_BATCH;
  group.tenant = "t";
  group.api_key = "own";
  group.metadata = {{"x-extra", "1"}};
  auto sender = Make(group);
  sender->Send(0, Call(5, 0));
  results_.Await(0);
  const v1::EncodeRequest request = server_.requests().at(0);
  EXPECT_EQ(request.priority(), v1::PRIORITY_BATCH);
  EXPECT_EQ(request.tenant(), "t");
  EXPECT_EQ(request.tokens().ids().size(), 5u);
  std::lock_guard<std::mutex> lock(mutex);
  EXPECT_EQ(authorization, "Bearer own");
  EXPECT_EQ(extra, "1");
}

TEST_F(GrpcSenderTest, RetriesOnlyIfTold) {
  std::atomic<int> calls = 0;
  server_.on_encode = [&](int, grpc::ServerContext*, const v1::EncodeRequest&) {
    return calls++ == 0 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "not yet") : grpc::Status::OK;
  };
  auto once = Make();
  once->Send(0, Call(5, 0));
  EXPECT_EQ(results_.Await(0).code, absl::StatusCode::kUnavailable);
  calls = 0;
  auto again = Make({}, true);
  again->Send(1, Call(5, 0));
  EXPECT_EQ(results_.Await(1).code, absl::StatusCode::kOk);
  EXPECT_EQ(calls, 2);
}

TEST_F(GrpcSenderTest, TheDeadlineCountsFromWhenTheCallWasDue) {
  GroupCalls group;
  group.deadline_seconds = 5;
  auto sender = Make(group);
  PlannedCall overdue = Call(5, 0);
  overdue.due_seconds = -10;
  sender->Send(0, overdue);
  EXPECT_EQ(results_.Await(0).code, absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(server_.requests().empty());
}

TEST_F(GrpcSenderTest, CancelledCallsEnd) {
  server_.on_encode = [](int, grpc::ServerContext* context, const v1::EncodeRequest&) {
    while (!context->IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  };
  auto sender = Make();
  sender->Send(0, Call(5, 0));
  sender->Send(1, Call(5, 0));
  sender->Cancel(0);
  EXPECT_EQ(results_.Await(0).code, absl::StatusCode::kCancelled);
  sender->Cancel(0);  // has ended: no effect
  sender->CancelAll();
  EXPECT_EQ(results_.Await(1).code, absl::StatusCode::kCancelled);
}

TEST(JoinTargetsTest, SeveralMustBeNumeric) {
  EXPECT_EQ(*JoinTargets({"example.org:1"}), "example.org:1");
  EXPECT_EQ(*JoinTargets({"127.0.0.1:1", "127.0.0.2:1"}), "ipv4:127.0.0.1:1,127.0.0.2:1");
  EXPECT_EQ(*JoinTargets({"[::1]:1", "[::1]:2"}), "ipv6:[::1]:1,[::1]:2");
  EXPECT_FALSE(JoinTargets({"127.0.0.1:1", "example.org:1"}).ok());
}

}  // namespace
}  // namespace longwave::load
