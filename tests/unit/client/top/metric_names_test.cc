#include "client/top/metric_names.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <string>

#include "client/top/metric_page.h"
#include "client/top/page_fetcher.h"
#include "server/observability/metric_catalogue.h"
#include "server/observability/service_metrics.h"

namespace longwave::top {
namespace {

TEST(MetricNamesTest, AreThoseOfTheServersCatalogue) {
  constexpr catalogue::Metric kServers[] = {
      catalogue::kRequests,        catalogue::kTokens,          catalogue::kRequestDuration,
      catalogue::kRequestQueue,    catalogue::kRequestCompute,  catalogue::kBatchTokens,
      catalogue::kBatchSequences,  catalogue::kBatchFill,       catalogue::kAdmission,
      catalogue::kInvalid,         catalogue::kStreamBytes,     catalogue::kQueueRequests,
      catalogue::kQueueTokens,     catalogue::kRunningRequests, catalogue::kPausedJobs,
      catalogue::kExpectedWait,    catalogue::kResidentBytes,   catalogue::kReady,
      catalogue::kDraining,        catalogue::kModelInfo,       catalogue::kProcessCpu,
      catalogue::kProcessResident, catalogue::kProcessThreads,  catalogue::kProcessStart};
  ASSERT_EQ(std::size(kServers), std::size(kAllMetrics));
  for (size_t i = 0; i < std::size(kServers); ++i) {
    EXPECT_EQ(std::string(kAllMetrics[i]), kServers[i].name);
  }
}

// The page of a server's own exposer comes through the fetcher and the parser whole.
TEST(MetricNamesTest, TheServersPageIsRead) {
  const auto metrics = ServiceMetrics::Create({.address = "127.0.0.1:0"});
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  const auto fetcher = PageFetcher::Create(
      "http://127.0.0.1:" + std::to_string((*metrics)->port()) + "/metrics", absl::Seconds(60));
  ASSERT_TRUE(fetcher.ok()) << fetcher.status();
  const auto text = (*fetcher)->Fetch();
  ASSERT_TRUE(text.ok()) << text.status();
  const auto page = MetricPage::Parse(*text);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_EQ(page->Sum(kRequests), 0);
  EXPECT_FALSE(page->Histogram(kDuration, {{"code", "ok"}}).empty());
}

}  // namespace
}  // namespace longwave::top
