#include "client/crc32c.h"

#include <gtest/gtest.h>

#include <string>

namespace longwave::client {
namespace {

// RFC 3720, B.4.
TEST(Crc32cTest, GivesTheValuesOfTheStandard) {
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
  std::string ascending;
  for (int i = 0; i < 32; ++i) ascending.push_back(static_cast<char>(i));
  EXPECT_EQ(Crc32c(ascending), 0x46DD794Eu);
  EXPECT_EQ(Crc32c(std::string(ascending.rbegin(), ascending.rend())), 0x113FDB5Cu);
}

TEST(Crc32cTest, AgreesBitByBitAtEveryLengthAroundTheWord) {
  std::string text;
  for (int length = 0; length < 40; ++length) {
    uint32_t expected = ~0u;
    for (const char c : text) {
      expected ^= static_cast<uint8_t>(c);
      for (int bit = 0; bit < 8; ++bit) {
        expected = (expected >> 1) ^ ((expected & 1) ? 0x82F63B78u : 0);
      }
    }
    EXPECT_EQ(Crc32c(text), ~expected) << length;
    text.push_back(static_cast<char>(37 * length + 11));
  }
}

}  // namespace
}  // namespace longwave::client
