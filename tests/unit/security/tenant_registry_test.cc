#include "server/security/tenant_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace longwave {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// SHA-256 of "alpha", "beta" and of nothing.
constexpr char kAlpha[] = "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8";
constexpr char kBeta[] = "f44e64e75f3948e9f73f8dfa94721c4ce8cbb4f265c4790c702b2d41cfbf2753";
constexpr char kNothing[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

// {"tenants": [<tenants>]} with ALPHA, BETA and NOTHING replaced by the digests.
absl::StatusOr<std::shared_ptr<const TenantRegistry>> Parse(const std::string& tenants) {
  return TenantRegistry::Parse(
      absl::StrReplaceAll(absl::StrCat(R"({"tenants": [)", tenants, "]}"),
                          {{"ALPHA", kAlpha}, {"BETA", kBeta}, {"NOTHING", kNothing}}));
}

std::string Problem(const std::string& tenants) {
  const auto registry = Parse(tenants);
  EXPECT_TRUE(absl::IsInvalidArgument(registry.status())) << tenants;
  return std::string(registry.status().message());
}

TEST(TenantRegistryTest, KeysLeadToTenants) {
  const auto registry = Parse(R"({"name": "a", "key_sha256": ["ALPHA"], "share": 3,
       "max_compute_share": 0.5, "burst_seconds": 2}, {"name": "b.2_x", "key_sha256": ["BETA"]})");
  ASSERT_TRUE(registry.ok()) << registry.status();
  const auto a = (*registry)->Find("alpha");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->name, "a");
  EXPECT_EQ(a->share, 3);
  EXPECT_EQ(a->max_compute_share, 0.5);
  EXPECT_EQ(a->burst_seconds, 2);
  const auto b = (*registry)->Find("beta");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->name, "b.2_x");
  EXPECT_EQ(b->share, 1);
  EXPECT_TRUE(std::isinf(b->max_compute_share)) << "no quota unless asked for";
  for (const char* wrong : {"", "alph", "alpha ", "Alpha", kAlpha}) {
    EXPECT_EQ((*registry)->Find(wrong), nullptr) << wrong;
  }
}

TEST(TenantRegistryTest, ATenantMayHaveManyKeysOrNone) {
  const auto registry =
      Parse(R"({"name": "a", "key_sha256": ["ALPHA", "BETA"]}, {"name": "out", "key_sha256": []})");
  ASSERT_TRUE(registry.ok()) << registry.status();
  EXPECT_EQ((*registry)->Find("alpha"), (*registry)->Find("beta"));
  EXPECT_EQ((*registry)->tenants().size(), 2u);
  EXPECT_EQ((*registry)->keys(), 2u);
}

TEST(TenantRegistryTest, EveryProblemAtOnce) {
  EXPECT_THAT(Problem(R"({"name": "A B", "key_sha256": ["ALPHA", "xyz"], "share": 0},
                         {"name": "ok", "key_sha256": "ALPHA", "quota": 3})"),
              AllOf(HasSubstr("tenants[0].name"), HasSubstr("tenants[0].key_sha256[1]"),
                    HasSubstr("tenants[0].share"), HasSubstr("tenants[1].key_sha256"),
                    HasSubstr("tenants[1].quota")));
}

TEST(TenantRegistryTest, AKeyInThePlaceOfItsDigestIsNotRepeated) {
  EXPECT_THAT(Problem(R"({"name": "a", "key_sha256": ["my-secret-key"]})"),
              Not(HasSubstr("secret")));
}

TEST(TenantRegistryTest, WhatIsRefused) {
  for (const char* tenants : {
           "",
           "3",
           R"({"key_sha256": ["ALPHA"]})",
           R"({"name": "", "key_sha256": ["ALPHA"]})",
           R"({"name": "-a", "key_sha256": ["ALPHA"]})",
           R"({"name": 3, "key_sha256": ["ALPHA"]})",
           R"({"name": "a"})",
           R"({"name": "a", "key_sha256": ["NOTHING"]})",
           R"({"name": "a", "key_sha256": ["ALPHA", "ALPHA"]})",
           R"({"name": "a", "key_sha256": [7]})",
           R"({"name": "a", "key_sha256": ["ALPHA"]}, {"name": "a", "key_sha256": ["BETA"]})",
           R"({"name": "a", "key_sha256": ["ALPHA"]}, {"name": "b", "key_sha256": ["ALPHA"]})",
           R"({"name": "a", "key_sha256": ["ALPHA"], "share": 1e99})",
           R"({"name": "a", "key_sha256": ["ALPHA"], "share": "1"})",
           R"({"name": "a", "key_sha256": ["ALPHA"], "max_compute_share": 0})",
           R"({"name": "a", "key_sha256": ["ALPHA"], "burst_seconds": -1})",
           R"({"name": "a", "name": "b", "key_sha256": ["ALPHA"]})",
       }) {
    EXPECT_NE(Problem(tenants), "") << tenants;
  }
}

TEST(TenantRegistryTest, TextsThatAreNoSuchFile) {
  for (const std::string& text :
       {std::string(), std::string("[]"), std::string("{}"), std::string("null"),
        std::string(R"({"tenants": {}})"), std::string(R"({"tenants": [], "more": 1})"),
        std::string("{\"tenants\": [\xff]}"), std::string(100'000, '['),
        std::string(R"({"tenants": [{"name": "a", "key_sha256": []}]} x)")}) {
    EXPECT_FALSE(TenantRegistry::Parse(text).ok()) << text.substr(0, 60);
  }
}

}  // namespace
}  // namespace longwave
