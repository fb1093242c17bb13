#include "client/top/top_text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_join.h"

namespace longwave::top {
namespace {

TopReport Sample() {
  TopReport report;
  report.seconds = 2;
  report.model = "m";
  report.version = "7";
  report.device = "cpu";
  report.compute_dtype = "fp32";
  report.ready = true;
  report.start_time = 1000;
  report.requests = {{"Encode", "INTERNAL", 2, 1}, {"Encode", "OK", 2468, 1234}};
  report.refusals = {{"QUEUE_FULL", 9, 4.5}};
  report.requests_per_second = 1235;
  report.tokens_per_second = 1'500'000;
  report.total = {.p50 = 0.0012, .p90 = 0.25, .p99 = 120, .beyond = true};
  report.queue_requests = 12;
  report.process_bytes = 64 << 20;
  return report;
}

std::string Screen(const TopReport& report) {
  return absl::StrJoin(ScreenLines(report, "http://h/metrics", 1000 + 3725), "\n");
}

TEST(TopTextTest, TheScreenTellsEverything) {
  const std::string screen = Screen(Sample());
  for (const char* part :
       {"http://h/metrics", "ready, up 1 h 02 min", "model m 7 on cpu, fp32", "last 2.0 s", "1.2k",
        "1.5M", "1.2 ms", "250 ms", ">120 s", "64 MiB", "QUEUE_FULL", "INTERNAL"}) {
    EXPECT_NE(screen.find(part), std::string::npos) << part << "\n" << screen;
  }
}

TEST(TopTextTest, WhatWasNotMeasuredIsADash) {
  TopReport report = Sample();
  report.total = {};
  report.refusals.clear();
  report.draining = true;
  const std::string screen = Screen(report);
  EXPECT_NE(screen.find("total               -          -          -"), std::string::npos)
      << screen;
  EXPECT_NE(screen.find("draining"), std::string::npos);
  EXPECT_EQ(screen.find("refused"), std::string::npos);
}

TEST(TopTextTest, SaysOfWhichTimeTheFiguresAre) {
  TopReport report = Sample();
  report.restarted = true;
  EXPECT_NE(Screen(report).find("since the server began anew"), std::string::npos);
  report.since_start = true;
  EXPECT_NE(Screen(report).find("since the server's start"), std::string::npos);
}

TEST(TopTextTest, SurvivesStartsThatCannotBe) {
  TopReport report = Sample();
  for (const double start : {1e300, -1e300, 1e9, std::nan("")}) {
    report.start_time = start;
    EXPECT_NE(Screen(report).find("up an unknown time"), std::string::npos) << start;
  }
}

TEST(TopTextTest, ColumnsStandBelowTheirNames) {
  const std::string header = LogHeader();
  const std::string line = LogLine(Sample());
  EXPECT_EQ(header.size(), line.size());
  EXPECT_EQ(line.substr(0, 29), "     1.2k         1      1.5M");
}

TEST(TopTextTest, JsonHasNumbersAndNullForNone) {
  TopReport report = Sample();
  report.queue = {};
  const std::string line = JsonLine(report);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["requests_per_second"], 1235);
  EXPECT_EQ(json["requests"][1]["code"], "OK");
  EXPECT_EQ(json["refusals"][0]["count"], 9);
  EXPECT_EQ(json["latency_seconds"]["total"]["p90"], 0.25);
  EXPECT_EQ(json["latency_seconds"]["total"]["p99_beyond_last_edge"], true);
  EXPECT_TRUE(json["latency_seconds"]["queue"]["p50"].is_null());
  EXPECT_TRUE(json["batch"]["tokens"].is_null());
}

TEST(AmountTest, IsShort) {
  EXPECT_EQ(Amount(0), "0");
  EXPECT_EQ(Amount(0.5), "0.5");
  EXPECT_EQ(Amount(999), "999");
  EXPECT_EQ(Amount(999.9), "1.0k");
  EXPECT_EQ(Amount(1234), "1.2k");
  EXPECT_EQ(Amount(2e15), "2000T");
}

}  // namespace
}  // namespace longwave::top
