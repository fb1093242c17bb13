#include "server/security/tls_material.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/security/test_certificates.h"

namespace longwave {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kNow = 1'800'000'000;
constexpr int64_t kDay = 24 * 3600;

TestPair Valid(int64_t from = kNow - kDay, int64_t to = kNow + kDay,
               const TestPair* signer = nullptr) {
  return MakeTestPair({.not_before = from, .not_after = to, .signer = signer});
}

std::string Problem(const TestPair& pair, const std::string& roots = "") {
  const auto material = CheckTlsMaterial(pair.certificate, pair.key, roots, kNow);
  EXPECT_TRUE(absl::IsInvalidArgument(material.status()));
  return std::string(material.status().message());
}

TEST(TlsMaterialTest, APairAndItsEndAreKept) {
  const TestPair pair = Valid();
  const auto material = CheckTlsMaterial(pair.certificate, pair.key, "", kNow);
  ASSERT_TRUE(material.ok()) << material.status();
  EXPECT_EQ(material->certificate_chain, pair.certificate);
  EXPECT_EQ(material->private_key, pair.key);
  EXPECT_EQ(material->certificate_not_after, kNow + kDay);
  EXPECT_EQ(material->client_ca_not_after, 0);
}

TEST(TlsMaterialTest, AChainEndsWithItsFirstEnd) {
  const TestPair root = Valid(kNow - kDay, kNow + 5);
  const TestPair leaf = Valid(kNow - kDay, kNow + kDay, &root);
  const auto material =
      CheckTlsMaterial(leaf.certificate + root.certificate, leaf.key, root.certificate, kNow);
  ASSERT_TRUE(material.ok()) << material.status();
  EXPECT_EQ(material->certificate_not_after, kNow + 5);
  EXPECT_EQ(material->client_ca_not_after, kNow + 5);
}

TEST(TlsMaterialTest, HalvesOfTwoPairsAreNoPair) {
  const TestPair one = Valid();
  const TestPair other = Valid();
  EXPECT_THAT(Problem({one.certificate, other.key}), HasSubstr("does not belong"));
}

TEST(TlsMaterialTest, HalfWrittenTextsAreRefusedAtEveryLength) {
  const TestPair pair = Valid();
  // The last two bytes are dashes' end and newline, which PEM can do without.
  for (size_t size = 0; size + 6 < pair.certificate.size(); size += 7) {
    Problem({pair.certificate.substr(0, size), pair.key});
  }
  for (size_t size = 0; size + 6 < pair.key.size(); size += 7) {
    Problem({pair.certificate, pair.key.substr(0, size)});
  }
}

TEST(TlsMaterialTest, TextsThatAreSomethingElse) {
  const TestPair pair = Valid();
  EXPECT_THAT(Problem({pair.key, pair.key}), HasSubstr("certificate"));
  EXPECT_THAT(Problem({pair.certificate, pair.certificate}), HasSubstr("private key"));
  EXPECT_THAT(Problem({"", pair.key}), HasSubstr("empty"));
  EXPECT_THAT(Problem({pair.certificate, ""}), HasSubstr("empty"));
  EXPECT_THAT(Problem(pair, "no roots at all"), HasSubstr("client CA"));
  EXPECT_THAT(Problem({pair.certificate + "-----BEGIN CERTIFICATE-----\nhalf", pair.key}),
              HasSubstr("certificate"));
}

TEST(TlsMaterialTest, AKeyWithAPassphraseIsRefusedAndNobodyIsAsked) {
  const TestPair locked = MakeTestPair(
      {.not_before = kNow - kDay, .not_after = kNow + kDay, .passphrase = "open sesame"});
  EXPECT_THAT(Problem(locked), AllOf(HasSubstr("passphrase"), Not(HasSubstr("sesame"))));
}

TEST(TlsMaterialTest, WhatIsNotValidNowIsRefused) {
  EXPECT_THAT(Problem(Valid(kNow - 2 * kDay, kNow - kDay)), HasSubstr("not valid"));
  EXPECT_THAT(Problem(Valid(kNow + kDay, kNow + 2 * kDay)), HasSubstr("not valid"));
  const TestPair old_root = Valid(kNow - 2 * kDay, kNow - kDay);
  EXPECT_THAT(Problem(Valid(), old_root.certificate), HasSubstr("client CA"));
}

TEST(TlsMaterialTest, AnOldRootBesideAGoodOneIsARotation) {
  const TestPair pair = Valid();
  const std::string roots =
      Valid(kNow - 2 * kDay, kNow - kDay).certificate + Valid(kNow - kDay, kNow + 9).certificate;
  const auto material = CheckTlsMaterial(pair.certificate, pair.key, roots, kNow);
  ASSERT_TRUE(material.ok()) << material.status();
  EXPECT_EQ(material->client_ca_not_after, kNow + 9);
}

TEST(TlsMaterialTest, AWeakKeyIsRefusedHereAndNotByTheHandshake) {
  const TestPair weak =
      MakeTestPair({.not_before = kNow - kDay, .not_after = kNow + kDay, .rsa_bits = 1024});
  EXPECT_THAT(Problem(weak), HasSubstr("certificate"));
}

}  // namespace
}  // namespace longwave
