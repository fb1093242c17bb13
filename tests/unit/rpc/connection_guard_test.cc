#include "server/rpc/connection_guard.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/base/clock.h"

namespace longwave {
namespace {

class GuardTest : public ::testing::Test {
 protected:
  void Begin(const std::string& peer, int calls) {
    for (int i = 0; i < calls; ++i) guard_.CallBegan(peer);
  }
  void End(const std::string& peer, int calls) {
    for (int i = 0; i < calls; ++i) guard_.CallEnded(peer);
  }

  std::vector<std::string> cut_;
  FakeClock clock_;
  ConnectionGuard guard_{10, &clock_, [this](const std::string& peer) { cut_.push_back(peer); }};
};

TEST_F(GuardTest, CallsThatEndAreNotCounted) {
  for (int round = 0; round < 100; ++round) {
    Begin("a", 10);
    End("a", 10);
  }
  EXPECT_TRUE(cut_.empty());
}

TEST_F(GuardTest, TheConnectionWithTooManyIsCutOnce) {
  Begin("a", 10);
  Begin("b", 10);
  EXPECT_TRUE(cut_.empty());
  Begin("b", 5);
  EXPECT_EQ(cut_, std::vector<std::string>{"b"});
  End("b", 15);
  Begin("b", 10);  // the same port, a new connection
  EXPECT_EQ(cut_.size(), 1u);
  Begin("b", 1);
  EXPECT_EQ(cut_.size(), 2u);
}

TEST_F(GuardTest, EndsOfUnknownCallsAreIgnored) {
  guard_.CallEnded("a");
  Begin("a", 10);
  EXPECT_TRUE(cut_.empty());
}

TEST_F(GuardTest, CallsWithoutAMessageAreCountedBySeconds) {
  const auto empty = [this](const std::string& peer, int64_t calls) {
    for (int64_t i = 0; i < calls; ++i) guard_.CallWasEmpty(peer);
  };
  for (int second = 0; second < 5; ++second) {
    empty("a", ConnectionGuard::kMaxEmptyPerSecond);
    empty("b", 1);
    EXPECT_TRUE(cut_.empty());
    clock_.AdvanceSeconds(1);
  }
  empty("a", ConnectionGuard::kMaxEmptyPerSecond + 100);
  EXPECT_EQ(cut_, std::vector<std::string>{"a"});
}

// A connection over loopback: the server's end knows the client's as its peer.
struct Connection {
  explicit Connection(int family) {
    const int listening = socket(family, SOCK_STREAM, 0);
    sockaddr_in6 address{};  // large enough for both; all zero is "any address, any port"
    address.sin6_family = family;
    socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    if (bind(listening, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
        listen(listening, 1) == 0) {
      getsockname(listening, reinterpret_cast<sockaddr*>(&address), &size);
      client = socket(family, SOCK_STREAM, 0);
      connected = connect(client, reinterpret_cast<sockaddr*>(&address), size) == 0;
      server = accept(listening, nullptr, nullptr);
      getsockname(client, reinterpret_cast<sockaddr*>(&address), &size);
      port = ntohs(address.sin6_port);  // at the same place for both families
    }
    close(listening);
  }
  ~Connection() {
    close(client);
    close(server);
  }
  // Whether the client sees the end of the connection.
  bool ClientSeesEnd() const {
    char byte = 0;
    return recv(client, &byte, 1, MSG_DONTWAIT) == 0;
  }

  bool connected = false;
  int client = -1;
  int server = -1;
  int port = 0;
};

TEST(ShutDownConnection, EndsThatConnectionAndNoOther) {
  const Connection one(AF_INET);
  const Connection other(AF_INET);
  ASSERT_TRUE(one.connected && other.connected);
  EXPECT_TRUE(ShutDownConnection(absl::StrCat("ipv4:127.0.0.1:", one.port)));
  EXPECT_TRUE(one.ClientSeesEnd());
  EXPECT_FALSE(other.ClientSeesEnd());
}

TEST(ShutDownConnection, Ipv6) {
  const Connection one(AF_INET6);
  if (!one.connected) GTEST_SKIP() << "no IPv6 on this machine";
  EXPECT_TRUE(ShutDownConnection(absl::StrCat("ipv6:%5B::1%5D:", one.port)));
  EXPECT_TRUE(one.ClientSeesEnd());
}

TEST(ShutDownConnection, PeersThatAreNotThere) {
  for (const char* peer : {"", "unix:", "unknown", "ipv4:127.0.0.1:0", "ipv4:192.0.2.1:7"}) {
    EXPECT_FALSE(ShutDownConnection(peer)) << peer;
  }
}

}  // namespace
}  // namespace longwave
