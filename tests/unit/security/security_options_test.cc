#include "server/security/security_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longwave {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kOpen[] = "0.0.0.0:1";
constexpr char kHere[] = "127.0.0.1:1";

TEST(SecurityOptionsTest, PlaintextIsForThisMachineUnlessToldOtherwise) {
  EXPECT_TRUE(SecurityOptions().Validate(kHere).ok());
  EXPECT_TRUE(SecurityOptions().Validate("unix:/run/longwave").ok());
  const absl::Status refused = SecurityOptions().Validate(kOpen);
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr("--address"), HasSubstr("--tls_certificate"),
                    HasSubstr("--allow_plaintext")));
  EXPECT_TRUE(SecurityOptions{.allow_plaintext = true}.Validate(kOpen).ok());
  const SecurityOptions tls = {.tls_certificate = "c", .tls_key = "k"};
  EXPECT_TRUE(tls.Validate(kOpen).ok());
}

TEST(SecurityOptionsTest, HalvesAreRefused) {
  EXPECT_FALSE(SecurityOptions{.tls_certificate = "c"}.Validate(kHere).ok());
  EXPECT_FALSE(SecurityOptions{.tls_key = "k"}.Validate(kHere).ok());
  EXPECT_FALSE(SecurityOptions{.tls_client_ca = "a"}.Validate(kHere).ok());
}

TEST(SecurityOptionsTest, TheIntervalIsBounded) {
  for (const double seconds : {0.0, -1.0, 3601.0}) {
    const absl::Status status = SecurityOptions{.reload_seconds = seconds}.Validate(kHere);
    EXPECT_THAT(std::string(status.message()), HasSubstr("--reload_interval")) << seconds;
  }
}

}  // namespace
}  // namespace longwave
