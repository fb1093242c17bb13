#include "server/rpc/listener.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/base/mutex.h"
#include "model/base/owned_fd.h"

namespace longwave {
namespace {

OwnedFd Connect(int port) {
  OwnedFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return OwnedFd();
  }
  return fd;
}

// Waits until the peer has closed or sent something; true: something was sent.
bool HearsSomething(const OwnedFd& fd) {
  char byte = 0;
  return read(fd.get(), &byte, 1) == 1;
}

// Keeps what it is given and greets it with one byte.
class Taker {
 public:
  void Take(OwnedFd fd) {
    EXPECT_EQ(write(fd.get(), "x", 1), 1);
    MutexLock lock(&mutex_);
    taken_.push_back(std::move(fd));
  }
  void DropAll() {
    MutexLock lock(&mutex_);
    taken_.clear();
  }

 private:
  Mutex mutex_;
  std::vector<OwnedFd> taken_ ABSL_GUARDED_BY(mutex_);
};

class ListenerTest : public testing::Test {
 protected:
  void Open(const std::string& address = "127.0.0.1:0") {
    auto listener = Listener::Open(address, nullptr);
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
    listener_->Start([this](OwnedFd fd) { taker_.Take(std::move(fd)); });
  }

  Taker taker_;
  std::unique_ptr<Listener> listener_;
};

TEST_F(ListenerTest, HandsOverConnectionsUntilItStops) {
  Open();
  ASSERT_GT(listener_->port(), 0);
  EXPECT_TRUE(HearsSomething(Connect(listener_->port())));
  EXPECT_TRUE(HearsSomething(Connect(listener_->port())));
  listener_->Stop();
  EXPECT_FALSE(Connect(listener_->port()).valid());
  listener_->Stop();  // again: nothing
}

TEST_F(ListenerTest, StopsInTheMidstOfAFlood) {
  auto listener = Listener::Open("127.0.0.1:0", nullptr);
  ASSERT_TRUE(listener.ok()) << listener.status();
  // Whoever is taken leaves another one waiting, until far more came than Stop should let in.
  constexpr int kFar = 5000;
  std::atomic<bool> stopping{false};
  std::atomic<int> taken{0};
  int taken_since = 0;
  OwnedFd last;
  (*listener)->Start([&, port = (*listener)->port()](OwnedFd) {
    ++taken;
    if (stopping) ++taken_since;
    if (taken_since < kFar) last = Connect(port);
  });
  const OwnedFd first = Connect((*listener)->port());
  while (taken < 1000) std::this_thread::yield();
  stopping = true;
  (*listener)->Stop();
  EXPECT_LT(taken_since, kFar);
}

TEST_F(ListenerTest, TheWildcardAndNamesWorkToo) {
  for (const char* address : {"0.0.0.0:0", "localhost:0", ":0"}) {
    Open(address);
    EXPECT_TRUE(HearsSomething(Connect(listener_->port()))) << address;
    listener_ = nullptr;
  }
}

TEST_F(ListenerTest, SaysWhyAnAddressCannotBeHad) {
  Open();
  const std::string taken = absl::StrCat("127.0.0.1:", listener_->port());
  for (const std::string& address :
       {taken, std::string("203.0.113.1:1"), std::string("127.0.0.1"), std::string("127.0.0.1:x"),
        std::string("127.0.0.1:65536"), std::string("no-such-host.invalid:1")}) {
    const auto second = Listener::Open(address, nullptr);
    ASSERT_FALSE(second.ok()) << address;
    EXPECT_NE(second.status().message().find("--address"), absl::string_view::npos);
    EXPECT_NE(second.status().message().find(address), absl::string_view::npos);
  }
}

TEST_F(ListenerTest, APortThatWasLeftCanBeTakenAtOnce) {
  Open();
  const std::string address = absl::StrCat("127.0.0.1:", listener_->port());
  const OwnedFd client = Connect(listener_->port());
  EXPECT_TRUE(HearsSomething(client));
  taker_.DropAll();  // closed from this side: the connection lingers in the kernel
  listener_ = nullptr;
  Open(address);
  EXPECT_TRUE(HearsSomething(Connect(listener_->port())));
}

// Sets the process's limit of descriptors for the length of a scope.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t most) {
    getrlimit(RLIMIT_NOFILE, &before_);
    struct rlimit limit = before_;
    limit.rlim_cur = most;
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  }
  ~DescriptorLimit() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  struct rlimit before_ = {};
};

TEST_F(ListenerTest, TheReserveIsNotGivenToConnections) {
  Open();
  const DescriptorLimit limit(128);  // 64 of them reserved
  std::vector<OwnedFd> clients;
  int greeted = 0;
  // Both ends are in this process, so that each connection takes two.
  for (int i = 0; i < 40; ++i) {
    clients.push_back(Connect(listener_->port()));
    ASSERT_TRUE(clients.back().valid()) << i;
    if (HearsSomething(clients.back())) ++greeted;
  }
  EXPECT_GT(greeted, 10);
  EXPECT_LT(greeted, 32);
  EXPECT_EQ(listener_->refused(), 40 - greeted);
  clients.clear();
  taker_.DropAll();
  EXPECT_TRUE(HearsSomething(Connect(listener_->port())));
}

TEST_F(ListenerTest, RecoversFromHavingNoDescriptorAtAll) {
  Open();
  OwnedFd client = Connect(listener_->port());
  ASSERT_TRUE(HearsSomething(client));
  taker_.DropAll();
  OwnedFd waiting;
  {
    // Whoever connects now is accepted only when the limit is gone.
    OwnedFd spare(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const DescriptorLimit limit(static_cast<rlim_t>(spare.get()) + 1);
    spare = OwnedFd();
    waiting = Connect(listener_->port());  // takes the last one
    ASSERT_TRUE(waiting.valid());
    while (listener_->refused() == 0) std::this_thread::yield();
  }
  EXPECT_TRUE(HearsSomething(waiting));
}

TEST(ReservedDescriptorsTest, IsBoundedAndNeverMoreThanHalf) {
  EXPECT_EQ(ReservedDescriptors(1 << 20), 64);
  EXPECT_EQ(ReservedDescriptors(128), 64);
  EXPECT_EQ(ReservedDescriptors(64), 32);
  EXPECT_EQ(ReservedDescriptors(0), 0);
}

}  // namespace
}  // namespace longwave
