#include "client/cli/sentences.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/ascii.h"

namespace longwave::cli {
namespace {

using Strings = std::vector<std::string>;

Strings Sentences(const std::string& text) {
  std::vector<TextRange> ranges;
  AppendSentences(text, {0, text.size()}, &ranges);
  Strings sentences;
  for (const TextRange& range : ranges) {
    sentences.push_back(text.substr(range.begin, range.end - range.begin));
  }
  return sentences;
}

TEST(SentencesTest, EndBehindStopsAndWhatClosesThem) {
  EXPECT_EQ(Sentences("One. Two!  Three?\nFour"), (Strings{"One.", "Two!", "Three?", "Four"}));
  EXPECT_EQ(Sentences("He said \"No.\" (Really!) Then"),
            (Strings{"He said \"No.\"", "(Really!)", "Then"}));
  EXPECT_EQ(Sentences("Wait\u2026 What?! Yes."), (Strings{"Wait\u2026", "What?!", "Yes."}));
}

TEST(SentencesTest, DoNotEndInNumbersNamesAndAbbreviations) {
  for (const std::string whole :
       {"It is 3.14 or so.", "Dr. Smith and J. S. Bach met.", "See Fig. 3, e.g. Table 2.",
        "\"Why?\" he asked.", "a.b.c is a name", "Lee et al. Found it."}) {
    EXPECT_EQ(Sentences(whole), Strings{whole});
  }
}

TEST(SentencesTest, EndWithoutSpaceWhereScriptsPutNone) {
  EXPECT_EQ(Sentences("\u4E00\u3002\u4E8C\uFF01\u300D\u4E09"),
            (Strings{"\u4E00\u3002", "\u4E8C\uFF01\u300D", "\u4E09"}));
}

TEST(SentencesTest, AreEverythingButWhiteSpaceWhateverTheBytes) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text.push_back("aZ. !?\n\"\xE3\x80\x82\xFF"[i * i * 7 / 3 % 12]);
  std::string kept;
  std::string joined;
  for (const char c : text) {
    if (!absl::ascii_isspace(c)) kept.push_back(c);
  }
  for (const std::string& sentence : Sentences(text)) {
    for (const char c : sentence) {
      if (!absl::ascii_isspace(c)) joined.push_back(c);
    }
  }
  EXPECT_EQ(joined, kept);
}

}  // namespace
}  // namespace longwave::cli
