#include "client/cli/report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "client/cli/error_text.h"
#include "client/error_info.h"

namespace longwave::cli {
namespace {

using nlohmann::json;

EncodeReport Sample() {
  EncodeReport report;
  report.model.set_name("m");
  report.model.set_weights_digest("d");
  report.output = "x.npy";
  report.similarity = true;
  report.documents.push_back({.name = "one",
                              .tokens = 100,
                              .tokens_used = 90,
                              .truncated = true,
                              .rows = 1,
                              .dim = 2,
                              .first_row = 0,
                              .route = "chunkwise",
                              .queue_ms = 1.25,
                              .compute_ms = 20.5,
                              .first_values = {0.1f, -0.25f},
                              .vector = {1, 0}});
  report.documents.push_back(
      {.name = "bad",
       .status = client::MakeError(absl::StatusCode::kInvalidArgument,
                                   {.reason = "SEQUENCE_TOO_LONG", .field = "f", .limit = "8"},
                                   "too long")});
  report.documents.push_back({.name = "two", .rows = 1, .dim = 2, .vector = {1, 1}});
  return report;
}

TEST(FormatTableTest, HasALineForEachDocumentThatSucceeded) {
  const std::string table = FormatTable(Sample());
  EXPECT_NE(table.find("one             90     2         1 chunkwise            1.2         20.5"
                       "   0.100000 -0.250000  (truncated)"),
            std::string::npos)
      << table;
  EXPECT_EQ(table.find("bad"), std::string::npos);
  EXPECT_NE(table.find("one       1.00000  0.70711"), std::string::npos) << table;
  EXPECT_NE(table.find("written to x.npy"), std::string::npos);
}

TEST(FormatTableTest, IsEmptyWhenNothingSucceeded) {
  EncodeReport report;
  report.documents.push_back({.name = "bad", .status = absl::InternalError("x")});
  EXPECT_EQ(FormatTable(report), "");
}

TEST(FormatJsonTest, HasEverythingOfEveryDocument) {
  const json report = json::parse(FormatJson(Sample()));
  EXPECT_EQ(report["model"]["digest"], "d");
  ASSERT_EQ(report["documents"].size(), 3);
  const json& one = report["documents"][0];
  EXPECT_EQ(one["status"], "OK");
  EXPECT_EQ(one["tokens"], 100);
  EXPECT_EQ(one["tokens_used"], 90);
  EXPECT_EQ(one["truncated"], true);
  EXPECT_EQ(one["route"], "chunkwise");
  EXPECT_EQ(one["queue_ms"], 1.25);
  EXPECT_EQ(one["first_row"], 0);
  EXPECT_EQ(one["first_values"].dump(), "[0.1,-0.25]");  // as floats print, not as doubles do
  const json& bad = report["documents"][1];
  EXPECT_EQ(bad["status"], "INVALID_ARGUMENT");
  EXPECT_EQ(bad["reason"], "SEQUENCE_TOO_LONG");
  EXPECT_EQ(bad["limit"], "8");
  EXPECT_FALSE(report["documents"][2].contains("first_row"));
  EXPECT_NEAR(report["similarity"][0][1], 0.70711, 1e-5);
}

TEST(CosineSimilarityTest, KnowsZeroAndNeverExceedsOne) {
  EXPECT_EQ(CosineSimilarity({0, 0}, {1, 1}), 0);
  EXPECT_EQ(CosineSimilarity({1, 0}, {0, 1}), 0);
  EXPECT_EQ(CosineSimilarity({1, 2}, {-1, -2}), -1);
  for (float x = 0.1f; x < 2; x += 0.1f) {
    EXPECT_LE(CosineSimilarity({x, x * x, 3}, {x, x * x, 3}), 1);
  }
}

TEST(DescribeErrorTest, NamesReasonFieldValueLimitAndDelay) {
  const absl::Status status = client::MakeError(absl::StatusCode::kResourceExhausted,
                                                {.reason = "QUEUE_FULL",
                                                 .field = "queue",
                                                 .value = "9",
                                                 .limit = "8",
                                                 .retry_after = absl::Milliseconds(250)},
                                                "no room");
  EXPECT_EQ(DescribeError(status, "h:1"),
            "RESOURCE_EXHAUSTED QUEUE_FULL: no room; queue = 9, limit 8; try again in 250ms");
}

TEST(DescribeErrorTest, DoesNotRepeatWhatTheTextSays) {
  const absl::Status status = client::MakeError(absl::StatusCode::kInvalidArgument,
                                                {.reason = "R", .field = "a.b", .limit = "8"},
                                                "too long; a.b = 9, limit 8");
  EXPECT_EQ(DescribeError(status, "h:1"), "INVALID_ARGUMENT R: too long; a.b = 9, limit 8");
}

TEST(DescribeErrorTest, SaysWhichServerIsNotThere) {
  const std::string text = DescribeError(absl::UnavailableError("refused"), "h:1");
  EXPECT_NE(text.find("no Longwave server answers at h:1"), std::string::npos) << text;
  EXPECT_NE(text.find("--server"), std::string::npos);
}

}  // namespace
}  // namespace longwave::cli
