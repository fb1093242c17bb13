// What is recorded of requests, and where each of them counts.
#include "server/observability/service_metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "server/observability/metric_catalogue.h"
#include "tests/unit/observability/scrape.h"
#include "tests/unit/observability/service_metrics_fixture.h"

namespace longwave {
namespace {

TEST(ServiceMetricsTest, SuccessfulRequestIsSeenInEveryHistogramOnce) {
  ServiceMetrics* const metrics = StartMetrics();
  metrics->RequestStarted(RpcMethod::kEncode);
  metrics->RequestEnded(OkRecord(RpcMethod::kEncode, 4096));
  const Scrape scrape = ScrapeMetrics(metrics->port());
  const std::string labels = "{code=\"ok\",len_class=\"le4k\",priority=\"interactive\"";
  const std::string duration = "longwave_request_duration_seconds";
  EXPECT_EQ(scrape.Value(duration + "_count" + labels + "}"), 1);
  EXPECT_EQ(scrape.Value(duration + "_sum" + labels + "}"), 4);
  EXPECT_EQ(scrape.Value(duration + "_bucket" + labels + ",le=\"5\"}"), 1);
  EXPECT_EQ(scrape.Value(duration + "_bucket" + labels + ",le=\"2.5\"}"), 0);
  const std::string part = "{len_class=\"le4k\",priority=\"interactive\"}";
  EXPECT_EQ(scrape.Value("longwave_request_queue_seconds_sum" + part), 1);
  EXPECT_EQ(scrape.Value("longwave_request_compute_seconds_sum" + part), 2);
  EXPECT_EQ(scrape.Value("longwave_requests_started_total{method=\"Encode\"}"), 1);
  EXPECT_EQ(scrape.Value("longwave_requests_total{code=\"OK\",method=\"Encode\"}"), 1);
  EXPECT_EQ(scrape.Value("longwave_request_tokens_sum"), 4096);
  EXPECT_EQ(scrape.Value("longwave_route_total{route=\"chunkwise\"}"), 1);
  EXPECT_EQ(
      scrape.Value("longwave_seconds_per_megatoken_sum{len_class=\"le4k\",route=\"chunkwise\"}"),
      2e6 / 4096);
}

TEST(ServiceMetricsTest, StagesAddUpToTheDuration) {
  ServiceMetrics* const metrics = StartMetrics();
  metrics->RequestEnded(OkRecord(RpcMethod::kEncodeStream, 100));
  const Scrape scrape = ScrapeMetrics(metrics->port());
  double stages = 0;
  for (const char* stage : {"receive", "validate", "queue", "compute", "serialise", "other"}) {
    stages +=
        scrape.Value("longwave_stage_duration_seconds_sum{stage=\"" + std::string(stage) + "\"}");
  }
  EXPECT_EQ(stages, scrape.Value("longwave_request_duration_seconds_sum"
                                 "{code=\"ok\",len_class=\"le1k\",priority=\"interactive\"}"));
}

TEST(ServiceMetricsTest, TotalsAreTheSumsOfTheHistograms) {
  ServiceMetrics* const metrics = StartMetrics();
  EXPECT_EQ(metrics->Totals()->last_success, Instant{});
  const Instant before = SteadyClock().Now();
  // Of 4 s: queue 1, compute 2, and the rest.
  RequestRecord batch = OkRecord(RpcMethod::kModelStreamInfer, 1 << 20);
  batch.priority = "batch";
  metrics->RequestEnded(OkRecord(RpcMethod::kEncode, 100));
  metrics->RequestEnded(OkRecord(RpcMethod::kEncodeStream, 4096));
  metrics->RequestEnded(OkRecord(RpcMethod::kModelInfer, 4096));
  metrics->RequestEnded(batch);
  metrics->RequestEnded(OkRecord(RpcMethod::kGetModel, 0));  // encodes nothing
  metrics->RequestEnded(FailedRecord(ErrorReason::kQueueFull, false));
  metrics->RequestEnded(FailedRecord(ErrorReason::kTokenOutOfRange, false));
  metrics->Batch(3, 700, 1);
  metrics->Batch(2, 300, 1);
  const InferenceTotals totals = *metrics->Totals();
  EXPECT_EQ(totals.success.count, 4u);
  EXPECT_EQ(totals.success.seconds, 16);
  EXPECT_EQ(totals.failure.count, 2u);
  EXPECT_EQ(totals.queue.count, 4u);
  EXPECT_EQ(totals.queue.seconds, 4);
  EXPECT_EQ(totals.compute.seconds, 8);
  EXPECT_EQ(totals.input.count, 4u);
  EXPECT_EQ(totals.output.count, 4u);
  EXPECT_EQ(totals.sequences, 5u);
  EXPECT_EQ(totals.batches, 2u);
  EXPECT_GE(totals.last_success, before);
  const Scrape scrape = ScrapeMetrics(metrics->port());
  const auto stage = [&](const char* name) {
    return scrape.Value("longwave_stage_duration_seconds_sum{stage=\"" + std::string(name) + "\"}");
  };
  EXPECT_EQ(totals.input.seconds, stage("receive") + stage("validate"));
  EXPECT_EQ(totals.output.seconds, stage("serialise"));
}

// How many failures each family has counted.
struct FailureCounts {
  double invalid = 0;
  double admission = 0;
  double device = 0;
  double cancelled = 0;
  double durations = 0;
};

FailureCounts CountFailures(int port) {
  const Scrape scrape = ScrapeMetrics(port);
  FailureCounts counts;
  for (const auto& [series, value] : scrape.series) {
    const std::string metric = MetricOf(scrape, series);
    if (metric == catalogue::kInvalid.name) counts.invalid += value;
    if (metric == catalogue::kAdmission.name) counts.admission += value;
    if (metric == catalogue::kDeviceErrors.name) counts.device += value;
    if (metric == catalogue::kCancelled.name) counts.cancelled += value;
    if (series.starts_with("longwave_request_duration_seconds_count")) counts.durations += value;
  }
  return counts;
}

TEST(ServiceMetricsTest, EachReasonIsCountedWhereItBelongs) {
  ServiceMetrics* const metrics = StartMetrics();
  FailureCounts before = CountFailures(metrics->port());
  for (const ErrorReason reason : AllErrorReasons()) {
    SCOPED_TRACE(std::string(ErrorReasonName(reason)));
    metrics->RequestEnded(FailedRecord(reason, /*admitted=*/false));
    const FailureCounts after = CountFailures(metrics->port());
    const double invalid = after.invalid - before.invalid;
    const double shed = after.admission - before.admission;
    const double device = after.device - before.device;
    const double cancelled = after.cancelled - before.cancelled;
    EXPECT_EQ(invalid, catalogue::IsInvalid(reason) ? 1 : 0);
    EXPECT_EQ(shed, catalogue::IsShed(reason) ? 1 : 0);
    EXPECT_EQ(cancelled, reason == ErrorReason::kCancelled ? 1 : 0);
    EXPECT_EQ(after.durations - before.durations, 1);
    // Every failure has one place, but for broken rules of our own and slow readers, which the
    // status code and the stall counter show.
    const bool elsewhere = reason == ErrorReason::kInternal || reason == ErrorReason::kSlowReader;
    EXPECT_EQ(invalid + shed + device + cancelled, elsewhere ? 0 : 1);
    before = after;
  }
}

TEST(ServiceMetricsTest, AdmittedRequestThatExpiresIsNotCountedAsShed) {
  ServiceMetrics* const metrics = StartMetrics();
  metrics->RequestEnded(FailedRecord(ErrorReason::kDeadlineExpired, /*admitted=*/true));
  const Scrape scrape = ScrapeMetrics(metrics->port());
  const std::string shed =
      "longwave_admission_total{decision=\"shed\",priority=\"interactive\","
      "reason=\"DEADLINE_EXPIRED\"}";
  EXPECT_EQ(scrape.Value(shed), 0);
  EXPECT_EQ(scrape.Value("longwave_admission_total"
                         "{decision=\"accept\",priority=\"interactive\",reason=\"NONE\"}"),
            1);
}

TEST(ServiceMetricsTest, LookUpsAreNotMeasuredAsWork) {
  ServiceMetrics* const metrics = StartMetrics();
  RequestRecord record = OkRecord(RpcMethod::kGetModel, 0);
  metrics->RequestEnded(record);
  const Scrape scrape = ScrapeMetrics(metrics->port());
  EXPECT_EQ(scrape.Value("longwave_requests_total{code=\"OK\",method=\"GetModel\"}"), 1);
  EXPECT_EQ(scrape.Value("longwave_request_tokens_count"), 0);
  EXPECT_EQ(scrape.Value("longwave_route_total{route=\"chunkwise\"}"), 0);
}

TEST(ServiceMetricsTest, WhatIsNotANumberNeverPoisonsASum) {
  ServiceMetrics* const metrics = StartMetrics();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double bad : {nan, infinity, -infinity, -1.0}) {
    metrics->Slice(bad);
    metrics->FirstChunk(10, bad);
    metrics->StreamStalled(bad);
    metrics->CostPrediction(bad, 1);
    metrics->CostPrediction(1, bad);
    metrics->Batch(1, 1, bad);
    metrics->ModelLoad("open", bad);
  }
  metrics->StreamChunk(-5);
  metrics->Padding(-1, -1);
  for (const auto& [series, value] : ScrapeMetrics(metrics->port()).series) {
    if (!series.starts_with("longwave_")) continue;
    EXPECT_TRUE(std::isfinite(value) && value >= 0) << series;
  }
}

TEST(ServiceMetricsTest, CountsAreExactUnderConcurrentUse) {
  ServiceMetrics* const metrics = StartMetrics();
  constexpr int kThreads = 4;
  constexpr int kEach = 2000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&metrics] {
      for (int i = 0; i < kEach; ++i) metrics->RequestEnded(OkRecord(RpcMethod::kEncode, 100));
    });
  }
  for (int i = 0; i < 5; ++i) ScrapeMetrics(metrics->port());
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ScrapeMetrics(metrics->port())
                .Value("longwave_requests_total{code=\"OK\",method=\"Encode\"}"),
            kThreads * kEach);
}

}  // namespace
}  // namespace longwave
