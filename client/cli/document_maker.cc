#include "client/cli/document_maker.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace longwave::cli {
namespace {

using Spans = std::vector<client::TokenSpan>;

// Byte offset of every code point, and of the end.
std::vector<size_t> CodePoints(const std::string& text) {
  std::vector<size_t> begins;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((text[i] & 0xC0) != 0x80) begins.push_back(i);
  }
  begins.push_back(text.size());
  return begins;
}

// All tokens with a part of their text in the range of characters.
absl::StatusOr<Spans> TokensOfCharacters(const Spans& ranges, const std::string& text,
                                         const std::vector<uint32_t>& begins) {
  const std::vector<size_t> characters = CodePoints(text);
  Spans spans;
  for (const client::TokenSpan& range : ranges) {
    if (range.end >= characters.size()) {
      return absl::InvalidArgumentError(absl::StrCat("char_spans[", spans.size(), "] ends at ",
                                                     range.end, ", and the text has ",
                                                     characters.size() - 1, " characters"));
    }
    const size_t begin = characters[range.begin];
    const size_t end = characters[range.end];
    const auto first = std::upper_bound(begins.begin(), begins.end(), begin);
    const auto behind = std::lower_bound(begins.begin(), begins.end(), end);
    const auto first_token = first == begins.begin() ? 0 : first - begins.begin() - 1;
    spans.push_back({.begin = static_cast<uint32_t>(first_token),
                     .end = static_cast<uint32_t>(behind - begins.begin())});
  }
  return spans;
}

absl::Status NoSpans() {
  return absl::InvalidArgumentError(
      "the document has no spans: give --spans, --chunk-tokens or --chunk-by, or a JSON line "
      "\"spans\" or \"char_spans\"");
}

}  // namespace

bool DocumentMaker::Chunked(const OwnSpans& own) const {
  return own.tokens.empty() && own.characters.empty() && options_.spans.empty() &&
         options_.chunks.wanted();
}

absl::StatusOr<Spans> DocumentMaker::SpansOfIds(size_t ids, const OwnSpans& own) const {
  if (!own.characters.empty()) {
    return absl::InvalidArgumentError("char_spans need \"text\"; token ids have \"spans\"");
  }
  if (!own.tokens.empty()) return own.tokens;
  if (!options_.spans.empty()) return options_.spans;
  if (options_.chunks.unit != ChunkUnit::kNone) {
    return absl::InvalidArgumentError(
        "token ids have no text that --chunk-by could cut; --chunk-tokens can");
  }
  if (options_.chunks.tokens == 0) return NoSpans();
  return ChunkTokens(static_cast<uint32_t>(ids), options_.chunks);
}

absl::StatusOr<Spans> DocumentMaker::SpansOfText(const std::string& text,
                                                 const TokenizedText& tokens,
                                                 const OwnSpans& own) const {
  if (!own.characters.empty()) return TokensOfCharacters(own.characters, text, tokens.begins);
  const ChunkOptions& chunks = options_.chunks;
  if (!Chunked(own) || chunks.unit == ChunkUnit::kNone) {
    return SpansOfIds(tokens.ids.size(), own);
  }
  Spans units = TokensWithin(SplitText(text, chunks.unit), tokens.begins);
  return chunks.tokens > 0 ? PackUnits(units, chunks.tokens) : units;
}

void DocumentMaker::FromText(const std::string& text, const OwnSpans& own,
                             Document* document) const {
  const bool offsets =
      options_.wanted && (!own.characters.empty() || options_.chunks.unit != ChunkUnit::kNone);
  auto tokens = tokenizer_->Tokenize(text, offsets);
  document->status = tokens.status();
  if (!tokens.ok()) return;
  if (options_.wanted && !tokens->ids.empty()) {
    auto spans = SpansOfText(text, *tokens, own);
    if (spans.ok() && spans->empty()) spans = absl::InvalidArgumentError("the text is blank");
    document->status = spans.status();
    if (!spans.ok()) return;
    document->spans = *std::move(spans);
    document->chunked = Chunked(own);
  }
  document->ids = std::move(tokens->ids);
}

void DocumentMaker::FromIds(std::vector<uint32_t> ids, const OwnSpans& own,
                            Document* document) const {
  if (options_.wanted && !ids.empty()) {
    auto spans = SpansOfIds(ids.size(), own);
    document->status = spans.status();
    if (!spans.ok()) return;
    document->spans = *std::move(spans);
    document->chunked = Chunked(own);
  }
  document->ids = std::move(ids);
}

}  // namespace longwave::cli
