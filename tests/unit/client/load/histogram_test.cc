#include "client/load/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "client/load/random.h"

namespace longwave::load {
namespace {

constexpr double kRelativeError = 1.0 / 1024;

// The slow, obvious twin: every value kept.
class ExactHistogram {
 public:
  void Record(double seconds) {
    seconds_.push_back(seconds);
    std::sort(seconds_.begin(), seconds_.end());
  }
  double Percentile(double percentile) const {
    const auto rank = static_cast<size_t>(std::ceil(percentile / 100 * seconds_.size() - 1e-9));
    return seconds_[std::max<size_t>(rank, 1) - 1];
  }
  int64_t CountAtMost(double seconds) const {
    return std::upper_bound(seconds_.begin(), seconds_.end(), seconds) - seconds_.begin();
  }

 private:
  std::vector<double> seconds_;
};

TEST(HistogramTest, PercentilesAreThoseOfTheExactOneWithinTheBound) {
  Random random(7);
  Histogram histogram;
  ExactHistogram exact;
  for (int i = 0; i < 3000; ++i) {
    // From nanoseconds to hours, in whole nanoseconds as it stores them.
    const double seconds = std::round(1e9 * std::exp(random.Uniform() * 30 - 20)) * 1e-9;
    histogram.Record(seconds);
    exact.Record(seconds);
  }
  for (const double percentile : {0.0, 0.1, 1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0}) {
    const double expected = exact.Percentile(percentile);
    const double actual = histogram.Percentile(percentile);
    EXPECT_GE(actual, expected * (1 - 1e-12)) << percentile;
    EXPECT_LE(actual, expected * (1 + kRelativeError)) << percentile;
  }
}

TEST(HistogramTest, BoundHoldsAtTheEdgesOfEveryCellSize) {
  for (int bit = 0; bit < 52; ++bit) {
    for (const int64_t offset : {-1, 0, 1}) {
      const int64_t nanos = (int64_t{1} << bit) + offset;
      Histogram histogram;
      histogram.Record(nanos * 1e-9);
      histogram.Record(nanos * 2e-9);  // so that the maximum does not hide the cell's end
      const double value = histogram.Percentile(50) * 1e9;
      EXPECT_GE(value, nanos * (1 - 1e-12)) << nanos;
      EXPECT_LE(value, nanos * (1 + kRelativeError + 1e-12)) << nanos;
    }
  }
}

TEST(HistogramTest, ExtremesAndMeanAreExact) {
  Histogram histogram;
  EXPECT_EQ(histogram.Percentile(99), 0);
  EXPECT_EQ(histogram.mean_seconds(), 0);
  for (const double seconds : {0.25, 0.000123457, 3.5}) histogram.Record(seconds);
  EXPECT_DOUBLE_EQ(histogram.min_seconds(), 0.000123457);
  EXPECT_DOUBLE_EQ(histogram.max_seconds(), 3.5);
  EXPECT_DOUBLE_EQ(histogram.Percentile(100), 3.5);
  EXPECT_NEAR(histogram.mean_seconds(), (0.25 + 0.000123457 + 3.5) / 3, 1e-12);
}

TEST(HistogramTest, NegativeDurationsCountAsZero) {
  Histogram histogram;
  histogram.Record(-1);
  EXPECT_EQ(histogram.count(), 1);
  EXPECT_EQ(histogram.max_seconds(), 0);
}

TEST(HistogramTest, MergedEqualsRecordedTogether) {
  Random random(3);
  Histogram parts[3];
  Histogram whole;
  for (int i = 0; i < 2000; ++i) {
    const double seconds = random.Exponential() * 0.01;
    parts[random.Next() % 3].Record(seconds);
    whole.Record(seconds);
  }
  Histogram merged;
  for (const Histogram& part : parts) merged.Merge(part);
  merged.Merge(Histogram());
  EXPECT_EQ(merged.count(), whole.count());
  EXPECT_EQ(merged.min_seconds(), whole.min_seconds());
  EXPECT_EQ(merged.max_seconds(), whole.max_seconds());
  for (int percentile = 0; percentile <= 100; ++percentile) {
    EXPECT_EQ(merged.Percentile(percentile), whole.Percentile(percentile));
  }
}

TEST(HistogramTest, DistributionRisesToTheMaximumAndCountsRight) {
  Random random(5);
  Histogram histogram;
  ExactHistogram exact;
  for (int i = 0; i < 1000; ++i) {
    const double seconds = std::round(random.Exponential() * 1e7) * 1e-9;
    histogram.Record(seconds);
    exact.Record(seconds);
  }
  const auto points = histogram.Distribution();
  ASSERT_GT(points.size(), 30u);  // five for each of ten halvings
  EXPECT_EQ(points.back().percentile, 100);
  EXPECT_EQ(points.back().count, 1000);
  EXPECT_EQ(points.back().seconds, histogram.max_seconds());
  for (size_t i = 0; i < points.size(); ++i) {
    EXPECT_EQ(points[i].count, exact.CountAtMost(points[i].seconds + 1e-12)) << i;
    EXPECT_GE(points[i].count + 1e-6, points[i].percentile / 100 * 1000) << i;
    if (i > 0) EXPECT_GE(points[i].seconds, points[i - 1].seconds);
  }
}

}  // namespace
}  // namespace longwave::load
