#include "server/rpc/crc32c.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace longwave {
namespace {

TEST(Crc32cTest, MatchesThePublishedVectors) {
  // RFC 3720, B.4, and the check value of the CRC catalogue.
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(Crc32c(""), 0u);
}

TEST(Crc32cTest, FastAndPortableAgreeAtEveryLength) {
  std::mt19937 random(1);
  std::string data;
  for (int length = 0; length < 300; ++length) {
    EXPECT_EQ(Crc32c(data), Crc32cPortable(data)) << length;
    data.push_back(static_cast<char>(random()));
  }
}

}  // namespace
}  // namespace longwave
