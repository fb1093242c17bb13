#include "client/top/top_report.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "absl/strings/str_cat.h"

namespace longwave::top {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Counts {
  double ok = 0;
  double failed = 0;
  double tokens = 0;
  double padded = 0;
  double below_10ms = 0;  // of requests in the histogram
  double below_100ms = 0;
  double all = 0;
  double shed = 0;
  double invalid = 0;
  double cpu = 0;
  double start = 100;
};

MetricPage Page(const Counts& counts) {
  const std::string histogram = absl::StrCat(
      "longwave_request_duration_seconds_bucket{code=\"ok\",len_class=\"a\",le=\"0.01\"} ",
      counts.below_10ms, "\n",
      "longwave_request_duration_seconds_bucket{code=\"ok\",len_class=\"a\",le=\"0.1\"} ",
      counts.below_100ms, "\n",
      "longwave_request_duration_seconds_bucket{code=\"ok\",len_class=\"a\",le=\"+Inf\"} ",
      counts.all, "\n",
      "longwave_request_duration_seconds_bucket{code=\"shed\",len_class=\"a\",le=\"+Inf\"} 999\n");
  auto page = MetricPage::Parse(absl::StrCat(
      "longwave_requests_total{method=\"Encode\",code=\"OK\"} ", counts.ok, "\n",
      "longwave_requests_total{method=\"Encode\",code=\"INTERNAL\"} ", counts.failed, "\n",
      "longwave_requests_total{method=\"GetModel\",code=\"OK\"} 0\n",
      "longwave_tokens_total{kind=\"real\"} ", counts.tokens, "\n",
      "longwave_tokens_total{kind=\"padded\"} ", counts.padded, "\n",
      "longwave_admission_total{decision=\"accept\",priority=\"batch\",reason=\"NONE\"} 50\n",
      "longwave_admission_total{decision=\"shed\",priority=\"batch\",reason=\"QUEUE_FULL\"} ",
      counts.shed, "\n",
      "longwave_admission_total{decision=\"shed\",priority=\"interactive\",reason=\"QUEUE_FULL\"} ",
      counts.shed, "\n", "longwave_requests_invalid_total{reason=\"EMPTY_REQUEST\"} ",
      counts.invalid, "\n", histogram, "longwave_batch_tokens_sum ", counts.tokens, "\n",
      "longwave_batch_tokens_count ", counts.ok, "\n", "process_cpu_seconds_total ", counts.cpu,
      "\n", "process_start_time_seconds ", counts.start, "\n",
      "longwave_ready 1\nlongwave_draining 0\nlongwave_queue_requests 7\n",
      "longwave_model_info{model=\"old\",version=\"1\"} 0\n",
      "longwave_model_info{model=\"m\",version=\"2\",device=\"cpu\",compute_dtype=\"fp32\"} 1\n"));
  EXPECT_TRUE(page.ok()) << page.status();
  return *std::move(page);
}

TEST(TopReportTest, RatesAreOfTheTimeBetween) {
  const MetricPage before = Page({.ok = 10, .failed = 1, .tokens = 1000, .cpu = 3});
  const MetricPage now = Page({.ok = 30, .failed = 1, .tokens = 5000, .padded = 1000, .cpu = 9});
  const TopReport report = MakeReport(&before, now, 4);
  EXPECT_DOUBLE_EQ(report.requests_per_second, 5);
  EXPECT_DOUBLE_EQ(report.tokens_per_second, 1000);
  EXPECT_DOUBLE_EQ(report.padded_share, 0.2);
  EXPECT_DOUBLE_EQ(report.cpus, 1.5);
  EXPECT_DOUBLE_EQ(*report.batch_tokens, 200);
  ASSERT_EQ(report.requests.size(), 1);  // only what happened
  EXPECT_EQ(report.requests[0].method, "Encode");
  EXPECT_EQ(report.requests[0].code, "OK");
  EXPECT_DOUBLE_EQ(report.requests[0].count, 20);
  EXPECT_EQ(report.queue_requests, 7);
  EXPECT_EQ(report.model, "m");
  EXPECT_EQ(report.version, "2");
  EXPECT_TRUE(report.ready);
  EXPECT_FALSE(report.restarted);
}

TEST(TopReportTest, QuantilesAreOfTheTimeBetween) {
  // Before: all were slow. Since then: 80 fast ones, 20 in the middle.
  const MetricPage before = Page({.below_10ms = 0, .below_100ms = 0, .all = 1000});
  const MetricPage now = Page({.below_10ms = 80, .below_100ms = 100, .all = 1100});
  const TopReport report = MakeReport(&before, now, 1);
  EXPECT_NEAR(*report.total.p50, 0.01 * 50 / 80, 1e-12);
  EXPECT_NEAR(*report.total.p90, 0.01 + 0.09 * 10 / 20, 1e-12);
  EXPECT_FALSE(report.total.beyond);
  EXPECT_EQ(report.queue.p50, std::nullopt);
}

TEST(TopReportTest, SaysThatTheLastEdgeIsABoundOnly) {
  const TopReport report =
      MakeReport(nullptr, Page({.below_10ms = 1, .below_100ms = 2, .all = 9}), 1);
  EXPECT_EQ(report.total.p99, 0.1);
  EXPECT_TRUE(report.total.beyond);
}

TEST(TopReportTest, RefusalsAreAddedByReasonMostFirst) {
  const MetricPage before = Page({.shed = 1, .invalid = 1});
  const TopReport report = MakeReport(&before, Page({.shed = 4, .invalid = 2}), 2);
  ASSERT_EQ(report.refusals.size(), 2);
  EXPECT_EQ(report.refusals[0].reason, "QUEUE_FULL");
  EXPECT_DOUBLE_EQ(report.refusals[0].count, 6);
  EXPECT_DOUBLE_EQ(report.refusals[0].per_second, 3);
  EXPECT_EQ(report.refusals[1].reason, "EMPTY_REQUEST");
}

TEST(TopReportTest, AServerThatBeganAnewCountsFromNothing) {
  const MetricPage before = Page({.ok = 500, .all = 500, .cpu = 10, .start = 100});
  const TopReport report = MakeReport(&before, Page({.ok = 600, .cpu = 11, .start = 200}), 10);
  EXPECT_TRUE(report.restarted);
  EXPECT_DOUBLE_EQ(report.requests_per_second, 60);
  // Where nothing tells the time of the start, counts that fall do.
  const TopReport fallen = MakeReport(&before, Page({.ok = 20, .cpu = 1, .start = 100}), 10);
  EXPECT_TRUE(fallen.restarted);
  EXPECT_DOUBLE_EQ(fallen.requests_per_second, 2);
}

TEST(QuantileTest, InterpolatesWithinBuckets) {
  const Buckets buckets = {{1, 10}, {2, 10}, {4, 30}, {kInfinity, 40}};
  EXPECT_DOUBLE_EQ(*Quantile(buckets, 0.125), 0.5);
  EXPECT_DOUBLE_EQ(*Quantile(buckets, 0.5), 3);
  EXPECT_DOUBLE_EQ(*Quantile(buckets, 0.75), 4);
  EXPECT_DOUBLE_EQ(*Quantile(buckets, 0.99), 4);
  EXPECT_EQ(Quantile({}, 0.5), std::nullopt);
  EXPECT_EQ(Quantile({{1, 0}, {kInfinity, 0}}, 0.5), std::nullopt);
}

TEST(IsLongwaveTest, KnowsItsOwn) {
  EXPECT_TRUE(IsLongwave(Page({})));
  EXPECT_FALSE(IsLongwave(MetricPage::Parse("go_goroutines 9\n").value()));
}

}  // namespace
}  // namespace longwave::top
