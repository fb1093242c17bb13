#ifndef LONGWAVE_CLIENT_CLI_CHUNKING_H_
#define LONGWAVE_CLIENT_CLI_CHUNKING_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "client/cli/text_range.h"
#include "client/options.h"

// Late chunking: a document is encoded whole, and each chunk gets the mean of its rows. Here it is
// decided where the chunks begin and end.
namespace longwave::cli {

enum class ChunkUnit { kNone, kLines, kSentences, kParagraphs };
absl::StatusOr<ChunkUnit> ParseChunkUnit(absl::string_view name);

struct ChunkOptions {
  // kNone: windows of `tokens` tokens. Else a chunk is as many whole units as fit into `tokens`
  // tokens, or one unit if that is 0.
  ChunkUnit unit = ChunkUnit::kNone;
  uint32_t tokens = 0;
  uint32_t overlap = 0;  // tokens that a window shares with the one before it; below `tokens`

  bool wanted() const { return unit != ChunkUnit::kNone || tokens > 0; }
};

// "512" or "512:64", 64 being the overlap, into tokens and overlap.
absl::StatusOr<ChunkOptions> ParseChunkTokens(absl::string_view text);

// The units of a text in order, without the white space around them. Precondition: unit is not
// kNone.
// A paragraph ends at a line of white space; for sentences see sentences.h.
std::vector<TextRange> SplitText(absl::string_view text, ChunkUnit unit);

// The windows of `tokens` tokens.
std::vector<client::TokenSpan> ChunkTokens(uint32_t tokens, const ChunkOptions& options);

// Ranges of a text as ranges of its tokens, token i's text beginning at byte begins[i]. A token
// belongs to the range in which it begins; ranges in which none begins are left out.
std::vector<client::TokenSpan> TokensWithin(absl::Span<const TextRange> ranges,
                                            absl::Span<const uint32_t> begins);
// As many consecutive units as fit into `tokens` tokens, what is between them included; longer ones
// are cut.
std::vector<client::TokenSpan> PackUnits(absl::Span<const client::TokenSpan> units,
                                         uint32_t tokens);

// What is left of chunks where only the tokens [begin, end) are kept.
std::vector<client::TokenSpan> ClipSpans(absl::Span<const client::TokenSpan> spans, uint32_t begin,
                                         uint32_t end);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_CHUNKING_H_
