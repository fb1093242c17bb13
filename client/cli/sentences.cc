#include "client/cli/sentences.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace longwave::cli {
namespace {

constexpr absl::string_view kStops[] = {".", "!", "?", "\u2026"};
// The sentence ends here whatever follows: ideographic and full-width stops, the danda.
constexpr absl::string_view kStopsWithoutSpace[] = {"\u3002", "\uFF01", "\uFF1F", "\u0964"};
constexpr absl::string_view kClosers[] = {"\"",     "'",      ")",      "]",      "}",     "\u201D",
                                          "\u2019", "\u00BB", "\u300D", "\u300F", "\uFF09"};
// Without their last full stop, in lower case.
constexpr absl::string_view kAbbreviations[] = {
    "al", "approx", "cf", "ch", "dr",  "e.g", "ed", "eq",   "fig", "i.e", "inc", "jr",  "ltd",
    "mr", "mrs",    "ms", "no", "nos", "p",   "pp", "prof", "sec", "sr",  "st",  "vol", "vs"};

// Length of what stands at `at` and is in the list; 0: nothing.
template <size_t kCount>
size_t MatchAt(absl::string_view text, size_t at, const absl::string_view (&list)[kCount]) {
  for (const absl::string_view each : list) {
    if (absl::StartsWith(text.substr(at), each)) return each.size();
  }
  return 0;
}

// Whether the full stop at `stop` belongs to the word before it.
bool EndsAbbreviation(absl::string_view paragraph, size_t stop) {
  size_t begin = stop;
  while (begin > 0 && (absl::ascii_isalpha(paragraph[begin - 1]) || paragraph[begin - 1] == '.')) {
    --begin;
  }
  const absl::string_view word = paragraph.substr(begin, stop - begin);
  if (word.size() == 1) return absl::ascii_isalpha(word[0]) && word != "I";
  return std::find(std::begin(kAbbreviations), std::end(kAbbreviations),
                   absl::AsciiStrToLower(word)) != std::end(kAbbreviations);
}

// If a sentence ends with the stop at `at`, the place behind it; else 0.
size_t EndOfSentence(absl::string_view paragraph, size_t at) {
  const size_t wide = MatchAt(paragraph, at, kStopsWithoutSpace);
  size_t length = wide > 0 ? wide : MatchAt(paragraph, at, kStops);
  if (length == 0) return 0;
  size_t end = at + length;
  while (end < paragraph.size() && (length = std::max({MatchAt(paragraph, end, kStops),
                                                       MatchAt(paragraph, end, kStopsWithoutSpace),
                                                       MatchAt(paragraph, end, kClosers)})) > 0) {
    end += length;
  }
  if (wide > 0 || end == paragraph.size()) return end;
  if (!absl::ascii_isspace(paragraph[end])) return 0;
  size_t next = end;
  while (next < paragraph.size() && absl::ascii_isspace(paragraph[next])) ++next;
  if (next < paragraph.size() && absl::ascii_islower(paragraph[next])) return 0;
  return paragraph[at] == '.' && end == at + 1 && EndsAbbreviation(paragraph, at) ? 0 : end;
}

}  // namespace

void AppendSentences(absl::string_view text, TextRange paragraph,
                     std::vector<TextRange>* sentences) {
  const absl::string_view part = text.substr(paragraph.begin, paragraph.end - paragraph.begin);
  const auto append = [&](size_t begin, size_t end) {
    const TextRange trimmed = Trimmed(text, {paragraph.begin + begin, paragraph.begin + end});
    if (trimmed.begin < trimmed.end) sentences->push_back(trimmed);
  };
  size_t begin = 0;
  for (size_t at = 0; at < part.size();) {
    const size_t end = EndOfSentence(part, at);
    if (end > 0) {
      append(begin, end);
      begin = end;
    }
    at = std::max(end, at + 1);
  }
  append(begin, part.size());
}

}  // namespace longwave::cli
