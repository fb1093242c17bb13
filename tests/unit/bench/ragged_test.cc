#include "tests/bench/ragged.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace longwave {
namespace {

TEST(LogUniformLengthsTest, AddUpAndKeepTheirRange) {
  const std::vector<int64_t> lengths = LogUniformLengths(65536, 128, 16384, 1);
  EXPECT_EQ(std::accumulate(lengths.begin(), lengths.end(), int64_t{0}), 65536);
  for (size_t i = 0; i + 1 < lengths.size(); ++i) {
    EXPECT_GE(lengths[i], 128);
    EXPECT_LE(lengths[i], 16384);
  }
  EXPECT_GE(lengths.back(), 1);
}

TEST(LogUniformLengthsTest, MostAreShortAndTheSeedDecides) {
  const std::vector<int64_t> lengths = LogUniformLengths(1 << 22, 128, 16384, 2);
  const int64_t middle = 1448;  // sqrt(128 * 16384)
  int64_t below = 0;
  for (const int64_t length : lengths) below += length < middle ? 1 : 0;
  // Binomial with p = 1/2: five standard deviations.
  const double count = static_cast<double>(lengths.size());
  EXPECT_NEAR(static_cast<double>(below), count / 2, 2.5 * std::sqrt(count));
  EXPECT_EQ(lengths, LogUniformLengths(1 << 22, 128, 16384, 2));
  EXPECT_NE(lengths, LogUniformLengths(1 << 22, 128, 16384, 3));
}

}  // namespace
}  // namespace longwave
