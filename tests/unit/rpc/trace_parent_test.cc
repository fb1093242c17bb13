#include "server/rpc/trace_parent.h"

#include <gtest/gtest.h>

#include <set>

#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

constexpr char kTrace[] = "0af7651916cd43dd8448eb211c80319c";

constexpr char kParent[] = "b7ad6b7169203331";

// With flags, and with what follows them.
std::optional<TraceContext> Parse(const std::string& version, const std::string& tail) {
  return ParseTraceParent(absl::StrCat(version, "-", kTrace, "-", kParent, "-", tail));
}

TEST(TraceParentTest, ATraceIsTakenOver) {
  const std::optional<TraceContext> context = Parse("00", "01");
  ASSERT_TRUE(context.has_value());
  EXPECT_EQ(context->trace_id, kTrace);
  EXPECT_EQ(context->parent_span_id, kParent);
}

TEST(TraceParentTest, TheLowestFlagSaysSampled) {
  for (const char* flags : {"01", "03", "0f", "ab", "ff", "f1"}) {
    EXPECT_TRUE(Parse("00", flags)->sampled) << flags;
  }
  for (const char* flags : {"00", "02", "10", "0e", "fe", "1a"}) {
    EXPECT_FALSE(Parse("00", flags)->sampled) << flags;
  }
}

TEST(TraceParentTest, SpanIdsAreNeverZeroAndDiffer) {
  std::set<std::string> ids;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = NewSpanId();
    EXPECT_EQ(id.size(), 16u);
    EXPECT_NE(id, std::string(16, '0'));
    ids.insert(id);
  }
  EXPECT_EQ(ids.size(), 1000u);
}

TEST(TraceParentTest, LaterVersionsMaySayMore) {
  EXPECT_EQ(Parse("cc", "01")->trace_id, kTrace);
  EXPECT_EQ(Parse("cc", "01-what-else")->trace_id, kTrace);
  EXPECT_FALSE(Parse("cc", "01.x").has_value());
}

TEST(TraceParentTest, WhatIsNotByTheRulesIsIgnored) {
  for (const char* bad : {
           "",
           "00",
           "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
           "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
           "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
           "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
           "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
           "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
           "00-00000000000000000000000000000000-b7ad6b7169203331-01",
           "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
           "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
           "00-0af7651916cd43dd8448eb211c80319c-B7AD6B7169203331-01",
           "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0G",
           "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
           "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
           " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
       }) {
    EXPECT_FALSE(ParseTraceParent(bad).has_value()) << bad;
  }
}

}  // namespace
}  // namespace longwave
