#include "server/security/security.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/unit/security/test_certificates.h"
#include "tests/unit/security/test_folder.h"

namespace longwave {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kTenants[] = R"({"tenants": [{"name": "a", "key_sha256":
    ["8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8"]}]})";

TEST(SecurityTest, WithoutFilesThereIsNothingToCheck) {
  const auto security = Security::Create({}, nullptr);
  ASSERT_TRUE(security.ok()) << security.status();
  (*security)->Watch();
  EXPECT_EQ((*security)->tls(), nullptr);
  EXPECT_EQ((*security)->authenticator(), nullptr);
  EXPECT_EQ((*security)->Sample().certificate_not_after, 0);
}

TEST(SecurityTest, EveryProblemNamesItsFlag) {
  const TestFolder folder;
  const auto security = Security::Create(
      {.tls_certificate = folder / "c", .tls_key = folder / "k", .tenants = folder / "t"}, nullptr);
  EXPECT_THAT(std::string(security.status().message()),
              AllOf(HasSubstr("--tls_certificate"), HasSubstr("--tenants")));
}

TEST(SecurityTest, WatchesTheFilesAndTellsWhatBecameOfThem) {
  const TestFolder folder;
  const TestPair pair = MakeValidPair();
  const SecurityOptions options = {.tls_certificate = folder.Write("c", pair.certificate),
                                   .tls_key = folder.Write("k", pair.key),
                                   .tls_client_ca = folder.Write("ca", pair.certificate),
                                   .tenants = folder.Write("t", kTenants),
                                   .reload_seconds = 0.01};
  const auto security = Security::Create(options, nullptr);
  ASSERT_TRUE(security.ok()) << security.status();
  (*security)->Watch();
  EXPECT_GT((*security)->Sample().certificate_not_after, 0);
  EXPECT_GT((*security)->Sample().client_ca_not_after, 0);
  EXPECT_FALSE((*security)->authenticator()->Identify({}).ok());
  EXPECT_EQ((*security)->Sample().auth_failures[0], 1);
  folder.Write("c", "half");
  folder.Write("t", "half");
  while ((*security)->Sample().tls_reloads[1] == 0 ||
         (*security)->Sample().tenant_reloads[1] == 0) {
    std::this_thread::yield();
  }
  EXPECT_EQ((*security)->Sample().tls_reloads[0], 0);
}

}  // namespace
}  // namespace longwave
