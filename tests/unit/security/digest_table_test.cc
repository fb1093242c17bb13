#include "server/security/digest_table.h"

#include <gtest/gtest.h>

namespace longwave {
namespace {

TEST(DigestTableTest, TheDigestIsSha256) {
  const KeyDigest digest = DigestOfKey("abc");
  EXPECT_EQ(digest[0], 0xba);
  EXPECT_EQ(digest[31], 0xad);
}

TEST(DigestTableTest, FindsEachAndNothingElse) {
  DigestTable table;
  EXPECT_EQ(table.Find(DigestOfKey("0")), -1);
  constexpr int kKeys = 300;
  for (int i = 0; i < kKeys; ++i) table.Add(DigestOfKey(std::to_string(i)));
  EXPECT_EQ(table.size(), 300u);
  for (int i = 0; i < kKeys; ++i) EXPECT_EQ(table.Find(DigestOfKey(std::to_string(i))), i);
  EXPECT_EQ(table.Find(DigestOfKey(std::to_string(kKeys))), -1);
  EXPECT_EQ(table.Find(KeyDigest{}), -1);
}

TEST(DigestTableTest, EveryByteCounts) {
  DigestTable table;
  const KeyDigest digest = DigestOfKey("key");
  table.Add(digest);
  for (size_t byte = 0; byte < digest.size(); ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      KeyDigest other = digest;
      other[byte] = static_cast<unsigned char>(other[byte] ^ (1 << bit));
      EXPECT_EQ(table.Find(other), -1) << byte << "." << bit;
    }
  }
}

}  // namespace
}  // namespace longwave
