#include "client/api_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace longwave::client {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ApiKeyTest, VisibleAsciiOfABoundedLengthCanTravel) {
  EXPECT_TRUE(CheckApiKey("k").ok());
  EXPECT_TRUE(CheckApiKey(std::string(1024, 'k')).ok());
  EXPECT_TRUE(CheckApiKey("aZ09-._~+/=").ok());
  for (const std::string& bad :
       {std::string(), std::string(1025, 'k'), std::string("two words"), std::string("line\n"),
        std::string("nul\0", 4), std::string("k\xc3\xbc")}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CheckApiKey(bad))) << bad.size();
  }
}

TEST(ApiKeyTest, TheErrorDoesNotRepeatTheKey) {
  EXPECT_THAT(std::string(CheckApiKey("s3cret key").message()), Not(HasSubstr("s3cret")));
}

TEST(ApiKeyTest, LoopbackTargets) {
  for (const char* target :
       {"127.0.0.1:1", "127.8.9.1", "localhost:5", "localhost", "[::1]:7", "dns:///localhost:1",
        "ipv4:127.0.0.1:9", "ipv6:[::1]:9", "unix:/run/x", "unix-abstract:x"}) {
    EXPECT_TRUE(IsLoopbackTarget(target)) << target;
  }
  for (const char* target :
       {"10.0.0.1:1", "encoder:50051", "127.example.com:1", "localhost.example:1", "[::2]:1",
        "dns:///encoder:1", "ipv4:127.0.0.1:9,10.0.0.1:9", "xds:///localhost.x", ""}) {
    EXPECT_FALSE(IsLoopbackTarget(target)) << target;
  }
}

}  // namespace
}  // namespace longwave::client
