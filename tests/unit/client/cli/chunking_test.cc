#include "client/cli/chunking.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace longwave::cli {
namespace {

using Pairs = std::vector<std::pair<uint32_t, uint32_t>>;

Pairs ToPairs(const std::vector<client::TokenSpan>& spans) {
  Pairs pairs;
  for (const client::TokenSpan& span : spans) pairs.emplace_back(span.begin, span.end);
  return pairs;
}

std::vector<std::string> Units(const std::string& text, ChunkUnit unit) {
  std::vector<std::string> units;
  for (const TextRange& range : SplitText(text, unit)) {
    units.push_back(text.substr(range.begin, range.end - range.begin));
  }
  return units;
}
using Strings = std::vector<std::string>;

TEST(ChunkTokensTest, CoverTheDocument) {
  EXPECT_EQ(ToPairs(ChunkTokens(10, {.tokens = 4})), (Pairs{{0, 4}, {4, 8}, {8, 10}}));
  EXPECT_EQ(ToPairs(ChunkTokens(8, {.tokens = 4})), (Pairs{{0, 4}, {4, 8}}));
  EXPECT_EQ(ToPairs(ChunkTokens(3, {.tokens = 4})), (Pairs{{0, 3}}));
  EXPECT_EQ(ToPairs(ChunkTokens(0, {.tokens = 4})), (Pairs{}));
}

TEST(ChunkTokensTest, OverlapAndEndWithTheFirstThatReachesTheEnd) {
  EXPECT_EQ(ToPairs(ChunkTokens(10, {.tokens = 4, .overlap = 1})),
            (Pairs{{0, 4}, {3, 7}, {6, 10}}));
  EXPECT_EQ(ToPairs(ChunkTokens(4, {.tokens = 4, .overlap = 3})), (Pairs{{0, 4}}));
}

TEST(ChunkTokensTest, DoNotOverflow) {
  const uint32_t most = 4294967295u;
  EXPECT_EQ(ToPairs(ChunkTokens(most, {.tokens = 4000000000u})),
            (Pairs{{0, 4000000000u}, {4000000000u, most}}));
}

TEST(ParseChunkTokensTest, TakesSizeAndOverlap) {
  const auto chunks = ParseChunkTokens("512:64");
  ASSERT_TRUE(chunks.ok());
  EXPECT_EQ(chunks->tokens, 512);
  EXPECT_EQ(chunks->overlap, 64);
  EXPECT_EQ(ParseChunkTokens("7")->overlap, 0);
  for (const char* bad : {"", "0", "x", "5:5", "5:6", "5:1:1", "5:", "-1", "4294967296"}) {
    EXPECT_FALSE(ParseChunkTokens(bad).ok()) << bad;
  }
}

TEST(SplitTextTest, Lines) {
  EXPECT_EQ(Units("one\r\n\n  two \nthree", ChunkUnit::kLines), (Strings{"one", "two", "three"}));
  EXPECT_TRUE(Units(" \n\n", ChunkUnit::kLines).empty());
}

TEST(SplitTextTest, ParagraphsEndAtBlankLines) {
  EXPECT_EQ(Units("\n a\nb\n \t\n\nc\n", ChunkUnit::kParagraphs), (Strings{"a\nb", "c"}));
  EXPECT_EQ(Units("one", ChunkUnit::kParagraphs), (Strings{"one"}));
}

TEST(SplitTextTest, SentencesEndWithTheirParagraph) {
  EXPECT_EQ(Units("A heading\n\nOne. Two", ChunkUnit::kSentences),
            (Strings{"A heading", "One.", "Two"}));
}

TEST(TokensWithinTest, ATokenBelongsWhereItBegins) {
  // "Hello world. Next": tokens of two, and one across the boundary at 12.
  const std::vector<uint32_t> begins = {0, 5, 11, 15};
  EXPECT_EQ(ToPairs(TokensWithin({{0, 12}, {13, 17}}, begins)), (Pairs{{0, 3}, {3, 4}}));
  EXPECT_EQ(ToPairs(TokensWithin({{1, 4}, {5, 6}}, begins)), (Pairs{{1, 2}}));
}

TEST(PackUnitsTest, TakesAsManyAsFit) {
  const std::vector<client::TokenSpan> units = {
      {.begin = 0, .end = 3}, {.begin = 4, .end = 6}, {.begin = 7, .end = 9}};
  EXPECT_EQ(ToPairs(PackUnits(units, 6)), (Pairs{{0, 6}, {7, 9}}));
  EXPECT_EQ(ToPairs(PackUnits(units, 9)), (Pairs{{0, 9}}));
  EXPECT_EQ(ToPairs(PackUnits(units, 5)), (Pairs{{0, 3}, {4, 9}}));
}

TEST(PackUnitsTest, CutsWhatIsTooLongAndJoinsNothingToIt) {
  const std::vector<client::TokenSpan> units = {{.begin = 0, .end = 5}, {.begin = 5, .end = 6}};
  EXPECT_EQ(ToPairs(PackUnits(units, 3)), (Pairs{{0, 3}, {3, 5}, {5, 6}}));
}

TEST(ClipSpansTest, KeepsWhatTruncationKeeps) {
  const std::vector<client::TokenSpan> spans = {
      {.begin = 0, .end = 4}, {.begin = 4, .end = 8}, {.begin = 8, .end = 9}};
  EXPECT_EQ(ToPairs(ClipSpans(spans, 0, 6)), (Pairs{{0, 4}, {4, 6}}));
  EXPECT_EQ(ToPairs(ClipSpans(spans, 3, 9)), (Pairs{{3, 4}, {4, 8}, {8, 9}}));
}

}  // namespace
}  // namespace longwave::cli
