#include "client/top/metric_page.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

namespace longwave::top {
namespace {

MetricPage Page(const std::string& text) {
  auto page = MetricPage::Parse(text);
  EXPECT_TRUE(page.ok()) << page.status();
  return page.ok() ? *std::move(page) : MetricPage();
}

TEST(MetricPageTest, ReadsSamplesLabelsAndNumbers) {
  const MetricPage page = Page(
      "# HELP a_total Words.\n# TYPE a_total counter\n"
      "a_total{method=\"Encode\",code=\"OK\"} 3\n"
      "a_total{code=\"OK\",method=\"Get\",} 4.5e1 1700000000000\n"
      "b NaN\r\nc{} +Inf\n\nd -1");
  EXPECT_EQ(page.Sum("a_total"), 48);
  EXPECT_EQ(page.Sum("a_total", {{"method", "Encode"}}), 3);
  EXPECT_EQ(page.Sum("a_total", {{"method", "Nobody"}}), std::nullopt);
  EXPECT_EQ(page.Sum("missing"), std::nullopt);
  EXPECT_TRUE(std::isnan(*page.Sum("b")));
  EXPECT_TRUE(std::isinf(*page.Sum("c")));
  EXPECT_EQ(page.Sum("d"), -1);
}

TEST(MetricPageTest, LabelsMayHoldAnything) {
  const MetricPage page = Page("m{path=\"a\\\\b \\\"c\\\"\\n}, {\",x=\"\"} 1\n");
  ASSERT_EQ(page.samples("m").size(), 1);
  EXPECT_EQ(page.samples("m")[0].labels, (Labels{{"path", "a\\b \"c\"\n}, {"}, {"x", ""}}));
}

TEST(MetricPageTest, AddsHistogramsOfManySeries) {
  const MetricPage page = Page(
      "h_bucket{p=\"a\",le=\"1\"} 1\nh_bucket{p=\"a\",le=\"+Inf\"} 3\n"
      "h_bucket{p=\"b\",le=\"1\"} 10\nh_bucket{p=\"b\",le=\"+Inf\"} 20\nh_sum{p=\"a\"} 9\n"
      "h_bucket{le=\"NaN\"} 1\nh_bucket{le=\"x\"} 1\nh_bucket 1\n");
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(page.Histogram("h"), (Buckets{{1, 11}, {infinity, 23}}));
  EXPECT_EQ(page.Histogram("h", {{"p", "a"}}), (Buckets{{1, 1}, {infinity, 3}}));
}

TEST(MetricPageTest, NamesTheLineThatIsNoSample) {
  for (const char* line : {"<html>", "a", "a x", "a{ 1", "a{b} 1", "a{b=1} 1", "a{b=\"c} 1",
                           "a{b=\"c\"d=\"e\"} 1", "a{b=\"\\", "a 1 2 3", "{a=\"b\"} 1"}) {
    const auto page = MetricPage::Parse(std::string("good 1\n") + line + "\n");
    ASSERT_FALSE(page.ok()) << line;
    EXPECT_NE(page.status().message().find("line 2"), std::string::npos) << page.status();
  }
}

}  // namespace
}  // namespace longwave::top
