#include "client/cli/spans.h"

#include <fstream>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace longwave::cli {
namespace {

absl::StatusOr<std::vector<client::TokenSpan>> ParseSpans(const std::string& text) {
  std::vector<client::TokenSpan> spans;
  for (const absl::string_view part :
       absl::StrSplit(text, absl::ByAnyChar(", \t\r\n"), absl::SkipEmpty())) {
    const std::vector<absl::string_view> ends = absl::StrSplit(part, ':');
    client::TokenSpan span;
    if (ends.size() != 2 || !absl::SimpleAtoi(ends[0], &span.begin) ||
        !absl::SimpleAtoi(ends[1], &span.end) || span.begin >= span.end) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", part.substr(0, 40), "\" is not a range begin:end with begin < end"));
    }
    spans.push_back(span);
  }
  if (spans.empty()) return absl::InvalidArgumentError("has no range begin:end");
  return spans;
}

// Whether it can be nothing but ranges; a file of such a name would be an odd one.
bool LooksLikeRanges(const std::string& text) {
  return !text.empty() && text.find(':') != std::string::npos &&
         text.find_first_not_of("0123456789:, ") == std::string::npos;
}

}  // namespace

absl::StatusOr<std::vector<client::TokenSpan>> LoadSpans(const std::string& specification) {
  if (LooksLikeRanges(specification)) return ParseSpans(specification);
  std::ifstream file(specification, std::ios::binary);
  if (!file) {
    return absl::InvalidArgumentError("is neither a list of ranges (0:128,128:256) nor a file");
  }
  return ParseSpans({std::istreambuf_iterator<char>(file), {}});
}

std::vector<client::TokenSpan> RepeatSpans(const std::vector<client::TokenSpan>& spans,
                                           size_t documents) {
  std::vector<client::TokenSpan> repeated;
  repeated.reserve(spans.size() * documents);
  for (uint32_t sequence = 0; sequence < documents; ++sequence) {
    for (client::TokenSpan span : spans) {
      span.sequence = sequence;
      repeated.push_back(span);
    }
  }
  return repeated;
}

}  // namespace longwave::cli
