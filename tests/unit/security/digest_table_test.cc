#include "server/security/digest_table.h"

#include <gtest/gtest.h>

namespace longwave {
namespace {

TEST(DigestTableTest, TheDigestIsSha256) {
  const Sha256Digest digest = Sha256Of("abc");
  EXPECT_EQ(digest[0], 0xba);
  EXPECT_EQ(digest[31], 0xad);
}

TEST(DigestTableTest, FindsEachAndNothingElse) {
  DigestTable table;
  EXPECT_EQ(table.Find(Sha256Of("0")), -1);
  constexpr int kKeys = 300;
  for (int i = 0; i < kKeys; ++i) table.Add(Sha256Of(std::to_string(i)));
  EXPECT_EQ(table.size(), 300u);
  for (int i = 0; i < kKeys; ++i) EXPECT_EQ(table.Find(Sha256Of(std::to_string(i))), i);
  EXPECT_EQ(table.Find(Sha256Of(std::to_string(kKeys))), -1);
  EXPECT_EQ(table.Find(Sha256Digest{}), -1);
}

TEST(DigestTableTest, EveryByteCounts) {
  DigestTable table;
  const Sha256Digest digest = Sha256Of("key");
  table.Add(digest);
  for (size_t byte = 0; byte < digest.size(); ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      Sha256Digest other = digest;
      other[byte] = static_cast<unsigned char>(other[byte] ^ (1 << bit));
      EXPECT_EQ(table.Find(other), -1) << byte << "." << bit;
    }
  }
}

}  // namespace
}  // namespace longwave
