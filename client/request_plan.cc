#include "client/request_plan.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "client/decode.h"
#include "client/error_info.h"

namespace longwave::client {
namespace {

// Room for the fields beside ids and rows: SequenceInfo, lengths, names.
constexpr int64_t kFixedOverheadBytes = 64 << 10;
constexpr int64_t kSequenceOverheadBytes = 32;

// A limit that the server does not publish does not bind.
int64_t Limit(uint64_t published) {
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  return published == 0 || published > static_cast<uint64_t>(kNone)
             ? kNone
             : static_cast<int64_t>(published);
}

int64_t RowBytesOf(const EncodeOptions& options, const v1::Model& model) {
  const int64_t width = options.truncate_dim > 0 ? options.truncate_dim : model.dim();
  const int64_t layers = std::max<int64_t>(1, options.layers.size());
  const int64_t scale = options.dtype == v1::DATA_TYPE_INT8 ? 4 : 0;
  return RowBytes(options.dtype, width * layers) + scale;
}

v1::Pooling PoolingOf(const EncodeOptions& options, const v1::Model& model) {
  return options.pooling == v1::POOLING_UNSPECIFIED ? model.default_pooling() : options.pooling;
}

// Wire width of an id is not known before the ids are seen: assume the vocabulary's.
int64_t IdBytesOf(const v1::Model& model) {
  const uint32_t vocabulary = model.vocab_size();
  return vocabulary == 0 || vocabulary > 0x10000 ? 4 : vocabulary > 0x100 ? 2 : 1;
}

absl::Status TooLarge(const char* field, int64_t value, int64_t limit, absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument,
                   {.reason = "REQUEST_TOO_LARGE",
                    .field = field,
                    .value = absl::StrCat(value),
                    .limit = absl::StrCat(limit)},
                   absl::StrCat(what, ": ", value, ", limit ", limit, "; EncodeStream takes it"));
}

// A part of a split list whose sequences have no range would mean "all rows" to the server.
absl::Status CheckRanges(const char* field, const std::vector<TokenSpan>& ranges,
                         size_t sequences) {
  std::vector<bool> named(sequences, false);
  for (const TokenSpan& range : ranges) {
    if (range.sequence < sequences) {
      named[range.sequence] = true;
      continue;
    }
    return MakeError(absl::StatusCode::kInvalidArgument,
                     {.reason = "INVALID_FIELD",
                      .field = absl::StrCat(field, ".sequence"),
                      .value = absl::StrCat(range.sequence),
                      .limit = absl::StrCat(sequences)},
                     absl::StrCat(field, " names sequence ", range.sequence, " of ", sequences));
  }
  const auto missing = std::find(named.begin(), named.end(), false);
  if (ranges.empty() || missing == named.end()) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInvalidArgument, {.reason = "MISSING_FIELD", .field = field},
                   absl::StrCat(field, " names no range of sequence ", missing - named.begin()));
}

// What the current part holds so far.
struct PartSize {
  int64_t sequences = 0;
  int64_t tokens = 0;
  int64_t reply_bytes = 0;
};

bool Fits(const PartSize& part, int64_t tokens, int64_t reply_bytes, const EncodeOptions& options,
          const v1::Model& model) {
  const v1::Limits& limits = model.limits();
  const int64_t token_bound = std::min(
      {std::max<int64_t>(1, options.tokens_per_request), Limit(limits.max_tokens_per_request()),
       Limit(limits.max_receive_message_bytes()) / IdBytesOf(model)});
  return part.sequences + 1 <= Limit(limits.max_sequences_per_request()) &&
         part.tokens + tokens <= token_bound &&
         part.reply_bytes + reply_bytes + kFixedOverheadBytes <=
             Limit(limits.max_unary_reply_bytes());
}

}  // namespace

std::vector<int64_t> CountRows(absl::Span<const uint32_t> lengths, const EncodeOptions& options,
                               const v1::Model& model) {
  const v1::Pooling pooling = PoolingOf(options, model);
  if (pooling != v1::POOLING_SPANS && pooling != v1::POOLING_NONE) {
    return std::vector<int64_t>(lengths.size(), 1);
  }
  std::vector<int64_t> rows(lengths.size(), 0);
  const int64_t stride = std::max<uint32_t>(1, options.row_stride);
  const auto selected = [stride](int64_t tokens) { return (tokens + stride - 1) / stride; };
  if (pooling == v1::POOLING_NONE && options.row_ranges.empty()) {
    for (size_t i = 0; i < lengths.size(); ++i) rows[i] = selected(lengths[i]);
    return rows;
  }
  const bool spans = pooling == v1::POOLING_SPANS;
  for (const TokenSpan& range : spans ? options.spans : options.row_ranges) {
    if (range.sequence >= rows.size() || range.end < range.begin) continue;
    rows[range.sequence] += spans ? 1 : selected(range.end - range.begin);
  }
  return rows;
}

absl::Status CheckUnary(int64_t tokens, int64_t rows, const EncodeOptions& options,
                        const v1::Model& model) {
  const v1::Limits& limits = model.limits();
  if (tokens > Limit(limits.max_tokens_per_request())) {
    return TooLarge("tokens.lengths", tokens, Limit(limits.max_tokens_per_request()),
                    "too many tokens for one unary request");
  }
  const int64_t request_bytes = tokens * IdBytesOf(model) + kFixedOverheadBytes;
  if (request_bytes > Limit(limits.max_receive_message_bytes())) {
    return TooLarge("tokens.ids", request_bytes, Limit(limits.max_receive_message_bytes()),
                    "too many bytes for one unary request");
  }
  const int64_t reply_bytes = rows * RowBytesOf(options, model);
  if (reply_bytes > Limit(limits.max_unary_reply_bytes())) {
    return TooLarge("output", reply_bytes, Limit(limits.max_unary_reply_bytes()),
                    "too many bytes for one unary reply");
  }
  return absl::OkStatus();
}

absl::StatusOr<RequestPlan> PlanRequests(absl::Span<const uint32_t> lengths,
                                         const EncodeOptions& options, const v1::Model& model) {
  if (lengths.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     {.reason = "EMPTY_REQUEST", .field = "tokens.lengths"},
                     "there is no sequence to encode");
  }
  absl::Status ranges = CheckRanges("output.spans", options.spans, lengths.size());
  if (ranges.ok()) {
    ranges = CheckRanges("output.rows.ranges", options.row_ranges, lengths.size());
  }
  if (!ranges.ok()) return ranges;

  const std::vector<int64_t> rows = CountRows(lengths, options, model);
  const int64_t row_bytes = RowBytesOf(options, model);
  RequestPlan plan;
  PartSize size;
  for (uint32_t i = 0; i < lengths.size(); ++i) {
    if (absl::Status refused = CheckUnary(lengths[i], rows[i], options, model); !refused.ok()) {
      plan.refused.push_back({i, std::move(refused)});
      size = {};
      continue;
    }
    const int64_t reply_bytes = rows[i] * row_bytes + kSequenceOverheadBytes;
    // A sequence that fits a request alone gets one, whatever the part's own bounds say.
    if (size.sequences == 0 || !Fits(size, lengths[i], reply_bytes, options, model)) {
      plan.parts.push_back({.first = i, .count = 0});
      size = {};
    }
    ++plan.parts.back().count;
    ++size.sequences;
    size.tokens += lengths[i];
    size.reply_bytes += reply_bytes;
  }
  return plan;
}

}  // namespace longwave::client
