#include "server/security/tls_store.h"

#include <gtest/gtest.h>

#include "tests/unit/security/test_certificates.h"
#include "tests/unit/security/test_folder.h"

namespace longwave {
namespace {

class TlsStoreTest : public testing::Test {
 protected:
  TlsStoreTest() : first_(MakeValidPair()), second_(MakeValidPair()) {
    Put(first_);
    folder_.Write("ca", first_.certificate);
  }
  void Put(const TestPair& pair) {
    folder_.Write("certificate", pair.certificate);
    folder_.Write("key", pair.key);
  }
  std::unique_ptr<TlsStore> Create(bool client_ca = false) {
    auto store = TlsStore::Create({.certificate = folder_ / "certificate",
                                   .key = folder_ / "key",
                                   .client_ca = client_ca ? folder_ / "ca" : ""},
                                  nullptr);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }

  const TestFolder folder_;
  const TestPair first_;
  const TestPair second_;
};

TEST_F(TlsStoreTest, ANewPairIsTakenWhole) {
  const auto store = Create();
  const auto before = store->Current();
  EXPECT_EQ(before->private_key, first_.key);
  Put(second_);
  store->reloader().Look();
  EXPECT_EQ(store->Current()->certificate_chain, second_.certificate);
  EXPECT_EQ(store->Current()->private_key, second_.key);
  EXPECT_EQ(before->private_key, first_.key) << "handshakes under way keep theirs";
}

TEST_F(TlsStoreTest, AHalfWrittenPairLeavesTheOldOneAndIsCounted) {
  const auto store = Create();
  const auto before = store->Current();
  folder_.Write("certificate", second_.certificate);
  store->reloader().Look();
  EXPECT_EQ(store->Current(), before);
  folder_.Write("certificate", "");
  store->reloader().Look();
  EXPECT_EQ(store->Current(), before);
  EXPECT_EQ(store->reloader().failures(), 2);
  Put(second_);
  store->reloader().Look();
  EXPECT_EQ(store->Current()->private_key, second_.key);
  EXPECT_EQ(store->reloader().successes(), 1);
}

TEST_F(TlsStoreTest, AnEmptiedClientCaLetsNobodyElseIn) {
  const auto store = Create(/*client_ca=*/true);
  EXPECT_TRUE(store->wants_client_certificates());
  folder_.Write("ca", "");
  store->reloader().Look();
  EXPECT_EQ(store->reloader().failures(), 1);
  EXPECT_EQ(store->Current()->client_roots, first_.certificate);
  folder_.Write("ca", second_.certificate);
  store->reloader().Look();
  EXPECT_EQ(store->Current()->client_roots, second_.certificate);
}

// A pair and a client CA that are put in place ahead of their time.
TEST_F(TlsStoreTest, WhatIsNotValidYetIsTakenWhenItIs) {
  constexpr int64_t kStart = 1'800'000'000;
  constexpr int64_t kDay = 24 * 3600;
  const TestPair now = MakeTestPair({.not_before = kStart, .not_after = kStart + 2 * kDay});
  const TestPair next = MakeTestPair({.not_before = kStart + kDay, .not_after = kStart + 9 * kDay});
  Put(now);
  folder_.Write("ca", now.certificate);
  int64_t seconds = kStart;
  const auto clock = [&] {
    return std::chrono::system_clock::time_point(std::chrono::seconds(seconds));
  };
  auto store = TlsStore::Create(
      {.certificate = folder_ / "certificate", .key = folder_ / "key", .client_ca = folder_ / "ca"},
      nullptr, clock);
  ASSERT_TRUE(store.ok()) << store.status();
  const auto look = [&](int64_t after) {
    seconds = kStart + after;
    (*store)->reloader().Look();
    return (*store)->Current();
  };
  Put(next);
  EXPECT_EQ(look(1)->private_key, now.key);
  EXPECT_EQ(look(kDay - 1)->private_key, now.key);
  EXPECT_EQ(look(kDay)->private_key, next.key);
  EXPECT_EQ((*store)->reloader().failures(), 1);
  EXPECT_EQ((*store)->reloader().successes(), 1);

  const TestPair root =
      MakeTestPair({.not_before = kStart + 3 * kDay, .not_after = kStart + 9 * kDay});
  folder_.Write("ca", root.certificate);
  EXPECT_EQ(look(2 * kDay)->client_roots, now.certificate);
  EXPECT_EQ(look(3 * kDay)->client_roots, root.certificate);
  EXPECT_EQ((*store)->reloader().failures(), 2);
  EXPECT_EQ((*store)->reloader().successes(), 2);
}

TEST_F(TlsStoreTest, AnExpiredPairIsRefusedAtTheStartAndLater) {
  const auto tomorrow = [] { return std::chrono::system_clock::now() + std::chrono::hours(48); };
  const TlsFiles files = {.certificate = folder_ / "certificate", .key = folder_ / "key"};
  EXPECT_FALSE(TlsStore::Create(files, nullptr, tomorrow).ok());
}

}  // namespace
}  // namespace longwave
