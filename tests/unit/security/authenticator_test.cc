#include "server/security/authenticator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/base/error.h"
#include "tests/unit/security/test_folder.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// SHA-256 of "alpha" and "beta".
constexpr char kAlpha[] = R"({"tenants": [{"name": "a", "key_sha256":
    ["8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8"]}]})";
constexpr char kBeta[] = R"({"tenants": [{"name": "b", "key_sha256":
    ["f44e64e75f3948e9f73f8dfa94721c4ce8cbb4f265c4790c702b2d41cfbf2753"]}]})";

class AuthenticatorTest : public testing::Test {
 protected:
  AuthenticatorTest() {
    auto created = Authenticator::Create(folder_.Write("tenants", kAlpha), nullptr);
    EXPECT_TRUE(created.ok()) << created.status();
    authenticator_ = *std::move(created);
  }
  absl::StatusOr<std::shared_ptr<const Tenant>> Identify(
      const std::vector<absl::string_view>& values) {
    return authenticator_->Identify(values);
  }

  const TestFolder folder_;
  std::unique_ptr<Authenticator> authenticator_;
};

TEST_F(AuthenticatorTest, AKeyNamesItsTenant) {
  const auto tenant = Identify({"Bearer alpha"});
  ASSERT_TRUE(tenant.ok()) << tenant.status();
  EXPECT_EQ((*tenant)->name, "a");
  EXPECT_TRUE(Identify({"bearer alpha"}).ok()) << "the scheme's case does not matter";
  EXPECT_THAT(authenticator_->failures(), ElementsAre(0, 0, 0, 0));
}

TEST_F(AuthenticatorTest, WhateverIsWrongTheAnswerIsTheSame) {
  const std::vector<std::vector<absl::string_view>> attempts = {
      {},
      {"alpha"},
      {"Basic alpha"},
      {"Bearer"},
      {"Bearer alpha", "Bearer alpha"},
      {"Bearer "},
      {"Bearer wrong"},
      {"Bearer  alpha"},
  };
  const absl::Status first = Identify(attempts[0]).status();
  EXPECT_EQ(GetErrorDetails(first).reason, ErrorReason::kUnauthenticated);
  EXPECT_EQ(first.code(), absl::StatusCode::kUnauthenticated);
  for (const auto& attempt : attempts) {
    const absl::Status status = Identify(attempt).status();
    EXPECT_EQ(status, first) << status;
  }
  EXPECT_THAT(authenticator_->failures(), ElementsAre(2, 4, 3, 0));
}

TEST_F(AuthenticatorTest, AClaimMustBeTheKeysTenantOrNothing) {
  const Tenant tenant{.name = "a"};
  EXPECT_TRUE(authenticator_->CheckClaim(tenant, "").ok());
  EXPECT_TRUE(authenticator_->CheckClaim(tenant, "a").ok());
  const absl::Status refused = authenticator_->CheckClaim(tenant, "b");
  EXPECT_EQ(refused.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(GetErrorDetails(refused).field, "tenant");
  EXPECT_THAT(authenticator_->failures(), ElementsAre(0, 0, 0, 1));
}

TEST_F(AuthenticatorTest, KeysChangeWithTheFile) {
  folder_.Write("tenants", kBeta);
  authenticator_->reloader().Look();
  EXPECT_FALSE(Identify({"Bearer alpha"}).ok());
  EXPECT_EQ((*Identify({"Bearer beta"}))->name, "b");
}

TEST_F(AuthenticatorTest, AFileThatIsWrongLocksNobodyOutAndLetsNobodyIn) {
  for (const char* text : {"", "{\"tenants\": [", "{\"tenants\": []}"}) {
    folder_.Write("tenants", text);
    authenticator_->reloader().Look();
    EXPECT_TRUE(Identify({"Bearer alpha"}).ok()) << text;
    EXPECT_FALSE(Identify({"Bearer beta"}).ok()) << text;
  }
  EXPECT_EQ(authenticator_->reloader().failures(), 3);
}

TEST(AuthenticatorCreateTest, AFileThatIsWrongIsRefusedAtTheStart) {
  const TestFolder folder;
  EXPECT_FALSE(Authenticator::Create(folder / "missing", nullptr).ok());
  EXPECT_FALSE(Authenticator::Create(folder.Write("bad", "{}"), nullptr).ok());
}

}  // namespace
}  // namespace longwave
