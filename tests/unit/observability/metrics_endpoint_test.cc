// What a scrape gets to see, and the port that it asks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <string>

#include "server/observability/metric_catalogue.h"
#include "server/observability/service_metrics.h"
#include "tests/unit/observability/scrape.h"
#include "tests/unit/observability/service_metrics_fixture.h"

namespace longwave {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Calls everything with every value of every closed set.
void RecordEverything(ServiceMetrics& metrics) {
  for (int m = 0; m < kRpcMethodCount; ++m) {
    const auto method = static_cast<RpcMethod>(m);
    metrics.RequestStarted(method);
    for (const char* priority : {"interactive", "batch"}) {
      for (const char* route : {"auto", "direct", "tiles", "chunkwise", "fft", "interpolation"}) {
        for (int64_t tokens = 1; tokens <= 1 << 20; tokens *= 2) {
          RequestRecord record = OkRecord(method, tokens);
          record.priority = priority;
          record.route = route;
          metrics.RequestEnded(record);
        }
      }
      for (const ErrorReason reason : AllErrorReasons()) {
        for (const bool admitted : {false, true}) {
          RequestRecord record = FailedRecord(reason, admitted);
          record.method = method;
          record.priority = priority;
          metrics.RequestEnded(record);
        }
      }
    }
  }
  for (int64_t tokens = 1; tokens <= 1 << 20; tokens *= 2) metrics.FirstChunk(tokens, 0.1);
  for (const char* label : {"no_driver", "no_device", "open", "warmup"}) {
    metrics.CpuFallback(label);
    metrics.ModelLoad(label, 1);
  }
  metrics.StreamChunk(1);
  metrics.StreamStalled(1);
  metrics.Batch(1, 1, 1);
  metrics.Slice(0.01);
  metrics.Padding(1, 1);
  metrics.CostPrediction(1, 1);
  metrics.NonFinite();
}

TEST(MetricsEndpointTest, EveryMetricHasHelpTypeAndAKnownPrefix) {
  ServiceMetrics* const metrics = StartMetrics();
  metrics->SetInfo({{"model", "default"}}, {{"version", "1"}});
  const Scrape scrape = ScrapeMetrics(metrics->port());
  EXPECT_EQ(scrape.malformed, "");
  EXPECT_GT(scrape.series.size(), 100);
  for (const auto& [series, value] : scrape.series) {
    const std::string metric = MetricOf(scrape, series);
    EXPECT_THAT(metric, ::testing::AnyOf(StartsWith("longwave_"), StartsWith("process_"),
                                         StartsWith("exposer_")));
    EXPECT_TRUE(scrape.help.contains(metric) && !scrape.help.at(metric).empty()) << series;
    EXPECT_TRUE(scrape.type.contains(metric)) << series;
    if (scrape.type.at(metric) == "counter") {
      EXPECT_TRUE(metric.ends_with("_total")) << metric;
    }
  }
}

TEST(MetricsEndpointTest, EveryRequestSeriesIsThereAtZeroBeforeTheFirstRequest) {
  ServiceMetrics* const metrics = StartMetrics();
  const Scrape scrape = ScrapeMetrics(metrics->port());
  for (const auto& [series, value] : scrape.series) {
    if (!series.starts_with("longwave_")) continue;
    EXPECT_EQ(value, 0) << series;
  }
  EXPECT_EQ(scrape.Value("longwave_requests_total{code=\"INTERNAL\",method=\"EncodeStream\"}"), 0);
  EXPECT_EQ(scrape.Value("longwave_requests_invalid_total{reason=\"TOKEN_OUT_OF_RANGE\"}"), 0);
  EXPECT_EQ(scrape.Value("longwave_admission_total"
                         "{decision=\"shed\",priority=\"batch\",reason=\"QUEUE_FULL\"}"),
            0);
}

TEST(MetricsEndpointTest, SeriesNeverExceedTheBudgetAndDoNotGrowWithUse) {
  ServiceMetrics* const metrics = StartMetrics();
  metrics->SetInfo({{"model", "default"}}, {{"version", "1"}});
  const size_t before = ScrapeMetrics(metrics->port()).series.size();
  EXPECT_LT(before, catalogue::kSeriesBudget);
  RecordEverything(*metrics);
  EXPECT_EQ(ScrapeMetrics(metrics->port()).series.size(), before);
}

TEST(MetricsEndpointTest, HostileLabelValuesCreateNoSeries) {
  ServiceMetrics* const metrics = StartMetrics();
  const Scrape before = ScrapeMetrics(metrics->port());
  std::mt19937_64 random(1);
  for (int i = 0; i < 100'000; ++i) {
    const std::string name = "x\n\"}{" + std::to_string(random());
    RequestRecord record = OkRecord(RpcMethod::kEncode, 10);
    record.priority = name;
    record.route = name;
    record.code = i % 2 == 0 ? absl::StatusCode::kOk : absl::StatusCode::kDataLoss;
    metrics->RequestEnded(record);
    metrics->CpuFallback(name);
    metrics->ModelLoad(name, 1);
  }
  const Scrape after = ScrapeMetrics(metrics->port());
  EXPECT_EQ(after.malformed, "");
  ASSERT_EQ(after.series.size(), before.series.size());
  EXPECT_EQ(after.Value("longwave_route_total{route=\"none\"}"), 50'000);
  EXPECT_EQ(after.Value("longwave_cpu_fallback_total{reason=\"other\"}"), 100'000);
  EXPECT_EQ(after.Value("longwave_requests_total{code=\"UNKNOWN\",method=\"Encode\"}"), 50'000);
}

TEST(MetricsEndpointTest, CertificatesAndKeysAreReadAtEachScrape) {
  ServiceMetrics* const metrics = StartMetrics();
  constexpr char kEnd[] = "longwave_tls_certificate_not_after_timestamp_seconds{which=\"server\"}";
  EXPECT_FALSE(ScrapeMetrics(metrics->port()).series.contains(kEnd)) << "no TLS, no end of it";
  GaugeSample sample;
  sample.security = {.certificate_not_after = 1'800'000'000,
                     .client_ca_not_after = 1'900'000'000,
                     .tls_reloads = {1, 2},
                     .tenant_reloads = {3, 4},
                     .auth_failures = {5, 6, 7, 8},
                     .handshake_failures = 9};
  metrics->SetSampler([&] { return sample; });
  const Scrape scrape = ScrapeMetrics(metrics->port());
  EXPECT_EQ(scrape.Value(kEnd), 1'800'000'000);
  EXPECT_EQ(
      scrape.Value("longwave_tls_certificate_not_after_timestamp_seconds{which=\"client_ca\"}"),
      1'900'000'000);
  EXPECT_EQ(scrape.Value("longwave_tls_reloads_total{result=\"success\"}"), 1);
  EXPECT_EQ(scrape.Value("longwave_tls_reloads_total{result=\"failure\"}"), 2);
  EXPECT_EQ(scrape.Value("longwave_tenant_reloads_total{result=\"failure\"}"), 4);
  EXPECT_EQ(scrape.Value("longwave_auth_failures_total{reason=\"missing\"}"), 5);
  EXPECT_EQ(scrape.Value("longwave_auth_failures_total{reason=\"malformed\"}"), 6);
  EXPECT_EQ(scrape.Value("longwave_auth_failures_total{reason=\"unknown_key\"}"), 7);
  EXPECT_EQ(scrape.Value("longwave_auth_failures_total{reason=\"tenant_mismatch\"}"), 8);
  EXPECT_EQ(scrape.Value("longwave_tls_handshake_failures_total"), 9);
}

TEST(MetricsEndpointTest, GaugesAreReadAtEachScrapeAndNotAfterTheSamplerIsTaken) {
  ServiceMetrics* const metrics = StartMetrics();
  EXPECT_EQ(ScrapeMetrics(metrics->port()).Value("longwave_ready"), 0);
  GaugeSample sample{.queued_requests = 1,
                     .queued_tokens = 2,
                     .running_requests = 3,
                     .paused_jobs = 4,
                     .resident_bytes = 5,
                     .expected_wait_seconds = 6.5,
                     .cost_weather_ratio = 1.5,
                     .cost_high_ratio = 1.25,
                     .ready = true,
                     .draining = true,
                     .log_dropped = 7,
                     .connections_refused = 12,
                     .fft_fp32_heads = 8,
                     .fft_fp64_heads = 9,
                     .fft_tiles_heads = 10,
                     .fft_recomputed_rows = 11};
  int calls = 0;
  metrics->SetSampler([&] {
    ++calls;
    return sample;
  });
  const Scrape scrape = ScrapeMetrics(metrics->port());
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(scrape.Value("longwave_queue_requests"), 1);
  EXPECT_EQ(scrape.Value("longwave_queue_tokens"), 2);
  EXPECT_EQ(scrape.Value("longwave_running_requests"), 3);
  EXPECT_EQ(scrape.Value("longwave_paused_jobs"), 4);
  EXPECT_EQ(scrape.Value("longwave_resident_bytes"), 5);
  EXPECT_EQ(scrape.Value("longwave_expected_wait_seconds"), 6.5);
  EXPECT_EQ(scrape.Value("longwave_cost_weather_ratio"), 1.5);
  EXPECT_EQ(scrape.Value("longwave_cost_high_ratio"), 1.25);
  EXPECT_EQ(scrape.Value("longwave_ready"), 1);
  EXPECT_EQ(scrape.Value("longwave_draining"), 1);
  EXPECT_EQ(scrape.Value("longwave_log_dropped_total"), 7);
  EXPECT_EQ(scrape.Value("longwave_connections_refused_total"), 12);
  EXPECT_EQ(scrape.Value("longwave_fft_guard_total{precision=\"fp32\"}"), 8);
  EXPECT_EQ(scrape.Value("longwave_fft_guard_total{precision=\"fp64\"}"), 9);
  EXPECT_EQ(scrape.Value("longwave_fft_guard_total{precision=\"tiles\"}"), 10);
  EXPECT_EQ(scrape.Value("longwave_fft_rows_recomputed_total"), 11);
  sample.ready = false;
  EXPECT_EQ(ScrapeMetrics(metrics->port()).Value("longwave_ready"), 0);
  metrics->SetSampler(nullptr);
  EXPECT_EQ(ScrapeMetrics(metrics->port()).Value("longwave_queue_tokens"), 0);
  EXPECT_EQ(calls, 2);
}

TEST(MetricsEndpointTest, ProcessMetricsDescribeThisProcess) {
  ServiceMetrics* const metrics = StartMetrics();
  const Scrape scrape = ScrapeMetrics(metrics->port());
  EXPECT_GT(scrape.Value("process_resident_memory_bytes"), 1 << 20);
  EXPECT_GT(scrape.Value("process_virtual_memory_bytes"),
            scrape.Value("process_resident_memory_bytes"));
  EXPECT_GE(scrape.Value("process_open_fds"), 3);
  EXPECT_GE(scrape.Value("process_max_fds"), scrape.Value("process_open_fds"));
  EXPECT_GE(scrape.Value("process_threads"), 2);
  EXPECT_GE(scrape.Value("process_cpu_seconds_total"), 0);
  const double age =
      static_cast<double>(time(nullptr)) - scrape.Value("process_start_time_seconds");
  EXPECT_GE(age, -2);  // the boot time is rounded to a second
  EXPECT_LT(age, 3600);
}

TEST(MetricsEndpointTest, InfoIsReplacedAndCannotBreakTheFormat) {
  ServiceMetrics* const metrics = StartMetrics();
  metrics->SetInfo({{"model", "replaced"}}, {{"version", "1"}});
  metrics->SetInfo({{"model", "a\"b\\c\nd\xff"}}, {{"version", "2"}});
  const Scrape scrape = ScrapeMetrics(metrics->port());
  EXPECT_EQ(scrape.malformed, "");
  EXPECT_EQ(scrape.text.find("replaced"), std::string::npos);
  EXPECT_EQ(scrape.Value("longwave_model_info{model=\"a\\\"b\\\\c\\nd\xEF\xBF\xBD\"}"), 1);
  EXPECT_EQ(scrape.Value("longwave_build_info{version=\"2\"}"), 1);
}

TEST(MetricsEndpointTest, PromtoolAcceptsTheScrape) {
  if (std::system("command -v promtool >/dev/null") != 0) {
    GTEST_SKIP() << "promtool is not installed (deploy/setup.sh --test)";
  }
  ServiceMetrics* const metrics = StartMetrics();
  metrics->SetInfo({{"model", "default"}}, {{"version", "1"}});
  RecordEverything(*metrics);
  const std::string text = ScrapeMetrics(metrics->port()).text;
  FILE* const promtool = popen("promtool check metrics 2>&1", "w");
  ASSERT_NE(promtool, nullptr);
  EXPECT_EQ(fwrite(text.data(), 1, text.size(), promtool), text.size());
  const int status = pclose(promtool);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(MetricsOptionsTest, AcceptsNumericAddressesOnly) {
  for (const char* good : {"127.0.0.1:0", "0.0.0.0:9090", "[::1]:65535", "[::]:1"}) {
    EXPECT_TRUE(MetricsOptions{.address = good}.Validate().ok()) << good;
  }
  for (const char* bad :
       {"", ":9090", "9090", "localhost:9090", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
        "127.0.0.1:9090s", "127.0.0.1:1,0.0.0.0:2", "::1:9090", "[::1:9090", "127.0.0.1 :1"}) {
    const absl::Status status = MetricsOptions{.address = bad}.Validate();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(status.message()), StartsWith("--metrics_address:")) << bad;
  }
}

TEST(MetricsEndpointTest, PortInUseIsAnErrorAndAFreedPortIsNot) {
  auto first = ServiceMetrics::Create({.address = "127.0.0.1:0"});
  ASSERT_TRUE(first.ok());
  const MetricsOptions same_port{.address = "127.0.0.1:" + std::to_string((*first)->port())};
  const auto second = ServiceMetrics::Create(same_port);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("--metrics_address"));
  first->reset();
  const auto third = ServiceMetrics::Create(same_port);
  EXPECT_TRUE(third.ok()) << third.status();
}

}  // namespace
}  // namespace longwave
