#include "client/cli/chunking.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "client/cli/sentences.h"
#include "client/cli/text_range.h"

namespace longwave::cli {
namespace {

// Lines without their ends, the empty ones too.
std::vector<TextRange> Lines(absl::string_view text) {
  std::vector<TextRange> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back({begin, end});
    begin = end + 1;
  }
  return lines;
}

std::vector<TextRange> Paragraphs(absl::string_view text) {
  std::vector<TextRange> paragraphs;
  bool inside = false;
  for (const TextRange& line : Lines(text)) {
    const TextRange trimmed = Trimmed(text, line);
    const bool blank = trimmed.begin == trimmed.end;
    if (!blank && inside) paragraphs.back().end = trimmed.end;
    if (!blank && !inside) paragraphs.push_back(trimmed);
    inside = !blank;
  }
  return paragraphs;
}

}  // namespace

absl::StatusOr<ChunkUnit> ParseChunkUnit(absl::string_view name) {
  if (name == "lines") return ChunkUnit::kLines;
  if (name == "sentences") return ChunkUnit::kSentences;
  if (name == "paragraphs") return ChunkUnit::kParagraphs;
  return absl::InvalidArgumentError("is none of lines, sentences, paragraphs");
}

absl::StatusOr<ChunkOptions> ParseChunkTokens(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ':');
  ChunkOptions options;
  if (parts.size() > 2 || !absl::SimpleAtoi(parts[0], &options.tokens) || options.tokens == 0 ||
      (parts.size() == 2 && !absl::SimpleAtoi(parts[1], &options.overlap))) {
    return absl::InvalidArgumentError("is not N or N:OVERLAP with N from 1 to 4294967295");
  }
  if (options.overlap >= options.tokens) {
    return absl::InvalidArgumentError("has an overlap that is not below N");
  }
  return options;
}

std::vector<TextRange> SplitText(absl::string_view text, ChunkUnit unit) {
  std::vector<TextRange> units;
  for (const TextRange& range : unit == ChunkUnit::kLines ? Lines(text) : Paragraphs(text)) {
    if (unit == ChunkUnit::kSentences) {
      AppendSentences(text, range, &units);
      continue;
    }
    const TextRange trimmed = Trimmed(text, range);
    if (trimmed.begin < trimmed.end) units.push_back(trimmed);
  }
  return units;
}

std::vector<client::TokenSpan> ChunkTokens(uint32_t tokens, const ChunkOptions& options) {
  std::vector<client::TokenSpan> chunks;
  const uint32_t step = options.tokens - options.overlap;
  for (uint64_t begin = 0; begin < tokens; begin += step) {
    const uint64_t end = std::min<uint64_t>(begin + options.tokens, tokens);
    chunks.push_back({.begin = static_cast<uint32_t>(begin), .end = static_cast<uint32_t>(end)});
    // What would follow lies in this one altogether.
    if (end == tokens) break;
  }
  return chunks;
}

std::vector<client::TokenSpan> TokensWithin(absl::Span<const TextRange> ranges,
                                            absl::Span<const uint32_t> begins) {
  std::vector<client::TokenSpan> spans;
  const auto token_at = [begins](size_t byte) {
    return static_cast<uint32_t>(std::lower_bound(begins.begin(), begins.end(), byte) -
                                 begins.begin());
  };
  for (const TextRange& range : ranges) {
    const client::TokenSpan span = {.begin = token_at(range.begin), .end = token_at(range.end)};
    if (span.begin < span.end) spans.push_back(span);
  }
  return spans;
}

std::vector<client::TokenSpan> PackUnits(absl::Span<const client::TokenSpan> units,
                                         uint32_t tokens) {
  std::vector<client::TokenSpan> chunks;
  bool open = false;  // the last chunk may grow
  for (const client::TokenSpan& unit : units) {
    if (open && unit.end - chunks.back().begin <= tokens) {
      chunks.back().end = unit.end;
      continue;
    }
    open = unit.end - unit.begin <= tokens;
    for (uint64_t begin = unit.begin; begin < unit.end; begin += tokens) {
      const uint64_t end = std::min<uint64_t>(begin + tokens, unit.end);
      chunks.push_back({.begin = static_cast<uint32_t>(begin), .end = static_cast<uint32_t>(end)});
    }
  }
  return chunks;
}

std::vector<client::TokenSpan> ClipSpans(absl::Span<const client::TokenSpan> spans, uint32_t begin,
                                         uint32_t end) {
  std::vector<client::TokenSpan> kept;
  for (client::TokenSpan span : spans) {
    span.begin = std::max(span.begin, begin);
    span.end = std::min(span.end, end);
    if (span.begin < span.end) kept.push_back(span);
  }
  return kept;
}

}  // namespace longwave::cli
