#include "client/load/load_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>

namespace longwave::load {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

LoadReport MakeReport() {
  LoadReport report;
  report.targets = {"127.0.0.1:1", "127.0.0.1:2"};
  report.model = "m";
  report.device = "cpu";
  report.seed = 9;
  report.warmup_seconds = 1;
  report.groups = {{"a", 30, "512", 0.5, "batch", "t"},
                   {"b", 10, "bimodal:1:2", std::numeric_limits<double>::infinity(), "", ""}};
  LoadResult& result = report.result;
  result.seconds = 10;
  result.interval_seconds = 1;
  result.models = {"digest fingerprint"};
  result.lateness.Record(0.001);
  result.groups.resize(2);
  result.intervals.assign(2, std::vector<IntervalResult>(11));
  GroupResult& a = result.groups[0];
  a.offered = 300;
  a.offered_tokens = 153600;
  a.good = 100;
  a.good_tokens = 51200;
  a.shed = 200;
  for (int i = 0; i < 100; ++i) a.latency.Record(0.02);
  for (int i = 0; i < 200; ++i) a.shed_latency.Record(0.001);
  a.endings["OK"] = {100, a.latency};
  a.endings["RESOURCE_EXHAUSTED QUEUE_FULL"] = {200, a.shed_latency};
  result.groups[1].offered = 100;
  result.groups[1].good = 100;
  result.intervals[0][3] = {.offered = 30, .good = 10, .good_tokens = 5120, .shed = 20};
  return report;
}

TEST(LoadReportTest, JsonHasEveryFigureOfEveryGroup) {
  const json report = json::parse(FormatLoadJson(MakeReport()));
  EXPECT_EQ(report["valid"], true);
  EXPECT_EQ(report["seed"], 9);
  EXPECT_EQ(report["targets"].size(), 2u);
  EXPECT_EQ(report["models_seen"][0], "digest fingerprint");
  ASSERT_EQ(report["groups"].size(), 2u);
  const json& a = report["groups"][0];
  EXPECT_EQ(a["name"], "a");
  EXPECT_EQ(a["deadline_ms"], 500);
  EXPECT_EQ(a["priority"], "batch");
  EXPECT_EQ(a["tenant"], "t");
  EXPECT_EQ(a["offered_per_second"], 30);
  EXPECT_EQ(a["goodput_per_second"], 10);
  EXPECT_EQ(a["goodput_tokens_per_second"], 5120);
  EXPECT_EQ(a["endings"]["RESOURCE_EXHAUSTED QUEUE_FULL"]["count"], 200);
  EXPECT_NEAR(a["endings"]["RESOURCE_EXHAUSTED QUEUE_FULL"]["p99_ms"], 1, 0.01);
  EXPECT_NEAR(a["latency"]["p50_ms"], 20, 0.1);
  EXPECT_NEAR(a["shed_latency"]["p99_ms"], 1, 0.01);
  EXPECT_EQ(a["intervals"]["shed"][3], 20);
  EXPECT_EQ(a["intervals"]["offered"].size(), 11u);
  EXPECT_EQ(a["distribution_ms"].back()[2], 100);
  for (const char* key : {"late", "wrong", "expired", "failed", "cancelled", "left", "server_queue",
                          "server_compute", "server_total", "since_sent", "overhead", "in_flight_at_end"}) {
    EXPECT_TRUE(a.contains(key)) << key;
  }
  EXPECT_TRUE(report["groups"][1]["deadline_ms"].is_null());
  EXPECT_EQ(report["total"]["offered"], 400);
  EXPECT_EQ(report["total"]["good"], 200);
}

TEST(LoadReportTest, JsonIsOneLine) {
  const std::string text = FormatLoadJson(MakeReport());
  EXPECT_EQ(text.find('\n'), text.size() - 1);
}

TEST(LoadReportTest, ARunThatIsNotValidHasNoFigures) {
  LoadReport report = MakeReport();
  report.problems = {"calls were sent late"};
  const json parsed = json::parse(FormatLoadJson(report));
  EXPECT_EQ(parsed["valid"], false);
  EXPECT_EQ(parsed["problems"][0], "calls were sent late");
  EXPECT_FALSE(parsed.contains("groups"));
  EXPECT_FALSE(parsed.contains("total"));
}

TEST(LoadReportTest, TextNamesGroupsReasonsAndTheSum) {
  const std::string text = FormatLoadText(MakeReport(), false);
  EXPECT_THAT(text, HasSubstr("a: 512 tokens at 30.0/s, deadline 500 ms, batch, tenant t"));
  EXPECT_THAT(text, HasSubstr("300 offered, 100 good, 200 shed"));
  EXPECT_THAT(text, HasSubstr("RESOURCE_EXHAUSTED QUEUE_FULL"));
  EXPECT_THAT(text, HasSubstr("all groups\n  offered 40.0/s"));
  EXPECT_THAT(text, Not(HasSubstr("1/(1-share)")));
  EXPECT_THAT(FormatLoadText(MakeReport(), true), HasSubstr("1/(1-share)"));
}

}  // namespace
}  // namespace longwave::load
