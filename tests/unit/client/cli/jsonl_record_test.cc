#include "client/cli/jsonl_record.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace longwave::cli {
namespace {

using Pairs = std::vector<std::pair<uint32_t, uint32_t>>;

Document Parse(const std::string& line, const SpanOptions& options) {
  const auto tokenizer = MakeTokenizer("byte").value();
  const DocumentMaker maker(tokenizer.get(), options);
  Document document;
  ParseJsonlRecord(line, maker, &document);
  return document;
}

Pairs Spans(const Document& document) {
  EXPECT_TRUE(document.status.ok()) << document.status;
  Pairs pairs;
  for (const client::TokenSpan& span : document.spans) pairs.emplace_back(span.begin, span.end);
  return pairs;
}

std::string Problem(const std::string& line, const SpanOptions& options = {.wanted = true}) {
  return std::string(Parse(line, options).status.message());
}

TEST(JsonlRecordTest, ALineBringsItsSpansInTokens) {
  const std::string line = R"({"id": "a", "text": "abcdef", "spans": [[0, 2], [1, 6]]})";
  EXPECT_EQ(Spans(Parse(line, {.wanted = true})), (Pairs{{0, 2}, {1, 6}}));
  EXPECT_EQ(Spans(Parse(R"({"token_ids": [7, 8, 9], "spans": [[1, 3]]})", {.wanted = true})),
            (Pairs{{1, 3}}));
}

TEST(JsonlRecordTest, OrInCharactersOfTheText) {
  // Two bytes each: characters 1 to 3 are bytes 2 to 6.
  const std::string line = "{\"text\": \"\u00e9\u00e9\u00e9\", \"char_spans\": [[1, 3]]}";
  EXPECT_EQ(Spans(Parse(line, {.wanted = true})), (Pairs{{2, 6}}));
}

TEST(JsonlRecordTest, ItsOwnSpansGoBeforeThoseOfTheCall) {
  const SpanOptions options = {.wanted = true, .chunks = {.tokens = 2}};
  EXPECT_EQ(Spans(Parse(R"({"text": "abc", "spans": [[0, 3]]})", options)), (Pairs{{0, 3}}));
  EXPECT_EQ(Spans(Parse(R"({"text": "abc"})", options)), (Pairs{{0, 2}, {2, 3}}));
}

TEST(JsonlRecordTest, SpansAreNothingToWhoDoesNotAskForThem) {
  EXPECT_TRUE(Spans(Parse(R"({"text": "abc", "spans": "mine"})", {})).empty());
}

TEST(JsonlRecordTest, NamesWhatIsWrongWithSpans) {
  EXPECT_EQ(Problem(R"({"text": "abc", "spans": [[0, 1], [2, 2]]})"),
            "spans[1] is not a range [begin, end] with begin < end");
  EXPECT_EQ(Problem(R"({"text": "abc", "spans": [[0, 1, 2]]})"),
            "spans[0] is not a range [begin, end] with begin < end");
  EXPECT_EQ(Problem(R"({"text": "abc", "spans": [[-1, 1]]})"),
            "spans[0] is not a range [begin, end] with begin < end");
  EXPECT_NE(Problem(R"({"text": "abc", "spans": []})").find("\"spans\" is not a list of ranges"),
            std::string::npos);
  EXPECT_EQ(Problem(R"({"text": "abc", "char_spans": [[0, 1], [1, 4]]})"),
            "char_spans[1] ends at 4, and the text has 3 characters");
  EXPECT_EQ(Problem(R"({"token_ids": [1], "char_spans": [[0, 1]]})"),
            "char_spans need \"text\"; token ids have \"spans\"");
  EXPECT_EQ(Problem(R"({"text": "abc", "spans": [[0, 1]], "char_spans": [[0, 1]]})"),
            "\"spans\" and \"char_spans\" exclude each other");
  EXPECT_NE(Problem(R"({"text": "abc"})").find("the document has no spans"), std::string::npos);
}

TEST(JsonlRecordTest, AnIdIsAStringOrANumber) {
  EXPECT_EQ(Parse(R"({"id": "a", "text": "t"})", {}).name, "a");
  EXPECT_EQ(Parse(R"({"id": 7, "text": "t"})", {}).name, "7");
  for (const char* id : {"[1]", "{}", "null", "true"}) {
    EXPECT_EQ(Problem(std::string("{\"text\": \"t\", \"id\": ") + id + "}"),
              "\"id\" is neither a string nor a number")
        << id;
  }
}

// What takes such a line's value apart calls itself once a level.
TEST(JsonlRecordTest, ALineOfManyBracketsIsBadAndNoMore) {
  const std::string deep(10'000'000, '[');
  const std::string back(10'000'000, ']');
  for (const char* key : {"id", "other", "spans"}) {
    const std::string line = std::string("{\"text\": \"t\", \"") + key + "\": " + deep;
    EXPECT_EQ(Problem(line + back + "}"), "the line is nested deeper than 64") << key;
    EXPECT_EQ(Problem(line), "the line is nested deeper than 64") << key;
  }
  const std::string quoted = R"({"id": "\\\"[[", "text": ")" + deep + "\"}";
  EXPECT_TRUE(Parse(quoted, {}).status.ok());
}

TEST(DocumentMakerTest, ChunksByUnitsOfTheText) {
  const std::string line = R"({"text": "One. Two.\n\nThree"})";
  EXPECT_EQ(Spans(Parse(line, {.wanted = true, .chunks = {.unit = ChunkUnit::kSentences}})),
            (Pairs{{0, 4}, {5, 9}, {11, 16}}));
  EXPECT_EQ(
      Spans(Parse(line, {.wanted = true, .chunks = {.unit = ChunkUnit::kSentences, .tokens = 9}})),
      (Pairs{{0, 9}, {11, 16}}));
  EXPECT_NE(
      Problem(R"({"token_ids": [1, 2]})", {.wanted = true, .chunks = {.unit = ChunkUnit::kLines}})
          .find("--chunk-by"),
      std::string::npos);
  EXPECT_EQ(Problem(R"({"text": " \n "})", {.wanted = true, .chunks = {.unit = ChunkUnit::kLines}}),
            "the text is blank");
}

#if !defined(__SANITIZE_ADDRESS__)  // which forbids the way SentencePiece is loaded
// Pieces are longer than bytes, and one may begin with the white space before its word.
TEST(DocumentMakerTest, ChunksOfPiecesAreTheTokensOfTheirText) {
  const auto tokenizer = MakeTokenizer(LONGWAVE_TINY_TOKENIZER ".model").value();
  const std::string first = "sequence 12 of 84 tokens";
  const std::string second = "goes through 12 layers";
  const DocumentMaker maker(tokenizer.get(),
                            {.wanted = true, .chunks = {.unit = ChunkUnit::kLines}});
  Document document;
  maker.FromText(first + "\n" + second, {}, &document);
  const Pairs spans = Spans(document);
  ASSERT_EQ(spans.size(), 2);
  EXPECT_EQ(spans[0].first, 0);
  EXPECT_LT(spans[0].second, document.ids.size());
  EXPECT_LE(spans[0].second, spans[1].first);
  EXPECT_EQ(spans[1].second, document.ids.size());
  // The tokens of the first line are those that it has by itself.
  const auto alone = tokenizer->Encode(first).value();
  EXPECT_EQ(std::vector<uint32_t>(document.ids.begin(), document.ids.begin() + spans[0].second),
            alone);
}
#endif

}  // namespace
}  // namespace longwave::cli
