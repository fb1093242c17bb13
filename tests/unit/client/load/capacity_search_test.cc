#include "client/load/capacity_search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

namespace longwave::load {
namespace {

// Searches a server whose goodput is a function of the offered rate. Returns the steps it took.
int Search(CapacitySearch& search, const std::function<double(double)>& goodput) {
  int steps = 0;
  while (const auto rate = search.NextRate()) {
    search.Add(*rate, goodput(*rate));
    if (++steps > 60) break;
  }
  return steps;
}

TEST(CapacitySearchTest, FindsThePlateauFromBelowAndFromAbove) {
  for (const double first : {1.0, 100.0, 5000.0}) {
    CapacitySearch search(first);
    const int steps = Search(search, [](double rate) { return std::min(rate, 200.0); });
    EXPECT_NEAR(search.Capacity(), 200, 1) << first;
    EXPECT_LT(steps, 25) << first;
    EXPECT_EQ(search.Spread(), 0);
  }
}

TEST(CapacitySearchTest, FindsTheEdgeOfAServerThatCollapses) {
  CapacitySearch search(10);
  Search(search, [](double rate) { return rate <= 200 ? rate : 0.9 * 200 * 200 / rate; });
  EXPECT_GE(search.Capacity(), 0.8 * 200);
  EXPECT_LE(search.Capacity(), 200);
}

TEST(CapacitySearchTest, TellsHowMuchTheLastMeasurementsDiffer) {
  CapacitySearch search(100);
  double noise = 0;
  Search(search, [&](double rate) { return std::min(rate, 200.0 + (noise += 1)); });
  EXPECT_GT(search.Spread(), 0);
  EXPECT_LT(search.Spread(), 0.05);
}

TEST(CapacitySearchTest, GivesUpOnAServerThatAnswersNothing) {
  CapacitySearch search(100);
  EXPECT_LT(Search(search, [](double) { return 0.0; }), 30);
  EXPECT_EQ(search.Capacity(), 0);
}

TEST(CapacitySearchTest, StopsAtTheHighestRate) {
  CapacitySearch search(100, 1000);
  Search(search, [](double rate) { return rate; });
  EXPECT_EQ(search.Capacity(), 1000);
}

}  // namespace
}  // namespace longwave::load
