#include "server/admission/token_rules.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/admission/field_error.h"

namespace longwave {
namespace {

static_assert(std::endian::native == std::endian::little, "ids are widened without swapping");

// A stream may send more tokens than are used, to be cut off; this bounds what it makes us hold.
constexpr int64_t kMaxSentPerUsed = 4;

constexpr std::array<EnumRow<int>, 4> kIdWidths = {{{0, "ID_WIDTH_UNSPECIFIED", 0},
                                                    {1, "ID_WIDTH_U8", 1},
                                                    {2, "ID_WIDTH_U16", 2},
                                                    {3, "ID_WIDTH_U32", 4}}};

constexpr std::array<EnumRow<TruncationSide>, 3> kSides = {
    {{0, "TRUNCATION_SIDE_UNSPECIFIED", TruncationSide::kRefuse},
     {1, "TRUNCATION_SIDE_END", TruncationSide::kEnd},
     {2, "TRUNCATION_SIDE_START", TruncationSide::kStart}}};

struct Truncation {
  TruncationSide side = TruncationSide::kRefuse;
  int64_t max_tokens = 0;
};

absl::StatusOr<Truncation> ReadTruncation(const EncodeRequestData& request,
                                          const EncoderInfo& info) {
  absl::StatusOr<TruncationSide> side = MapEnum("truncation.side", request.truncation_side, kSides);
  if (!side.ok()) return std::move(side).status();
  const int64_t asked = request.truncation_max_tokens;
  if (asked > info.max_tokens) {
    return FieldError(ErrorReason::kInvalidField, "truncation.max_tokens",
                      Got(asked, info.max_tokens), "the model takes no sequence that long");
  }
  return Truncation{.side = *side, .max_tokens = asked == 0 ? info.max_tokens : asked};
}

absl::Status CheckInputKinds(const EncodeRequestData& request, const EncoderInfo& info) {
  struct Input {
    bool given;
    const char* kind;
    const char* field;
    bool implemented;
  };
  const std::array<Input, 4> inputs = {{
      {request.has_positions, "positions", "tokens.positions", false},
      {request.has_frames, "frames", "tokens.frames", false},
      {request.has_relations, "relations", "tokens.relations", false},
      {true, "token_ids", "tokens.ids", true},
  }};
  const std::vector<std::string>& kinds = info.input_kinds;
  for (const Input& input : inputs) {
    if (!input.given) continue;
    if (std::find(kinds.begin(), kinds.end(), input.kind) == kinds.end()) {
      return FieldError(ErrorReason::kUnsupportedInput, input.field, {},
                        absl::StrCat("the model does not take ", input.kind));
    }
    if (!input.implemented) {
      return FieldError(ErrorReason::kNotImplemented, input.field, {},
                        absl::StrCat("this server does not read ", input.kind, " yet"));
    }
  }
  return absl::OkStatus();
}

// Bytes per id. Precondition of a list of ids: none.
absl::StatusOr<int> ReadIdWidth(const EncodeRequestData& request, bool needed) {
  absl::StatusOr<int> width = MapEnum("tokens.id_width", request.id_width, kIdWidths);
  if (width.ok() && *width == 0 && needed) {
    return FieldError(ErrorReason::kBadIdWidth, "tokens.id_width",
                      Got(0, "ID_WIDTH_U8, ID_WIDTH_U16 or ID_WIDTH_U32"),
                      "the width of the ids is not set");
  }
  return width;
}

// The number of ids that came with a unary request.
absl::StatusOr<int64_t> CountIds(const EncodeRequestData& request) {
  const bool has_bytes = !request.ids_bytes.empty();
  absl::StatusOr<int> width = ReadIdWidth(request, has_bytes);
  if (!width.ok()) return std::move(width).status();
  if (!has_bytes) return static_cast<int64_t>(request.ids_list.size());
  if (!request.ids_list.empty()) {
    return FieldError(ErrorReason::kConflictingFields, "tokens.ids_list", {},
                      "tokens.ids and tokens.ids_list are both given");
  }
  if (request.ids_bytes.size() % *width != 0) {
    return FieldError(
        ErrorReason::kBadIdWidth, "tokens.ids",
        Got(absl::StrCat(request.ids_bytes.size(), " bytes"), absl::StrCat("ids of ", *width)),
        "the bytes are not a whole number of ids");
  }
  return static_cast<int64_t>(request.ids_bytes.size()) / *width;
}

absl::Status CheckStreamFields(const EncodeRequestData& request) {
  if (!request.ids_bytes.empty() || !request.ids_list.empty()) {
    return FieldError(ErrorReason::kConflictingFields,
                      request.ids_bytes.empty() ? "tokens.ids_list" : "tokens.ids", {},
                      "the ids of a stream travel in StreamData");
  }
  if (request.lengths.empty()) {
    return FieldError(ErrorReason::kMissingField, "tokens.lengths", {},
                      "a stream says at its opening how many ids will come");
  }
  return ReadIdWidth(request, /*needed=*/true).status();
}

// The lengths that the request means: those it names, or all ids as one sequence.
absl::StatusOr<std::vector<int64_t>> ReadLengths(const EncodeRequestData& request,
                                                 const RequestLimits& limits, bool stream) {
  int64_t ids = 0;
  if (stream) {
    if (absl::Status status = CheckStreamFields(request); !status.ok()) return status;
  } else {
    absl::StatusOr<int64_t> count = CountIds(request);
    if (!count.ok()) return std::move(count).status();
    ids = *count;
    if (ids == 0 && request.lengths.empty()) {
      return FieldError(ErrorReason::kEmptyRequest, "tokens", {}, "there are no sequences");
    }
    if (request.lengths.empty()) return std::vector<int64_t>{ids};
  }
  if (static_cast<int64_t>(request.lengths.size()) > limits.max_sequences) {
    return FieldError(ErrorReason::kRequestTooLarge, "tokens.lengths",
                      Got(absl::StrCat(request.lengths.size(), " sequences"), limits.max_sequences),
                      "too many sequences in one request");
  }
  for (size_t s = 0; s < request.lengths.size(); ++s) {
    if (request.lengths[s] == 0) {
      return FieldError(ErrorReason::kEmptySequence, absl::StrCat("tokens.lengths[", s, "]"),
                        Got(0, "at least 1"), "a sequence is empty");
    }
  }
  std::vector<int64_t> lengths(request.lengths.begin(), request.lengths.end());
  // At most max_sequences numbers of 32 bits: the sum cannot overflow.
  const int64_t sum = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  if (!stream && sum != ids) {
    return FieldError(ErrorReason::kLengthsMismatch, "tokens.lengths",
                      Got(absl::StrCat("sum ", sum), absl::StrCat(ids, " ids given")),
                      "the lengths do not add up to the ids");
  }
  return lengths;
}

absl::Status CheckTotals(const std::vector<SequenceShape>& shapes, const EncoderInfo& info,
                         const RequestLimits& limits, bool stream) {
  int64_t sent = 0;
  int64_t used = 0;
  for (const SequenceShape& shape : shapes) {
    sent += shape.tokens_in;
    used += shape.tokens_used;
  }
  const int64_t max_used = stream ? info.max_tokens : limits.max_request_tokens;
  if (used > max_used) {
    return FieldError(ErrorReason::kRequestTooLarge, "tokens",
                      Got(absl::StrCat(used, " tokens"), max_used),
                      stream ? "too many tokens for one request"
                             : "too many tokens for one request: send fewer sequences, or use "
                               "EncodeStream");
  }
  if (stream && sent > kMaxSentPerUsed * info.max_tokens) {
    return FieldError(ErrorReason::kRequestTooLarge, "tokens",
                      Got(absl::StrCat(sent, " tokens"), kMaxSentPerUsed * info.max_tokens),
                      "too many tokens to cut off: cut before sending");
  }
  return absl::OkStatus();
}

absl::Status OutOfVocabulary(absl::string_view field, int64_t index, uint32_t id,
                             int64_t vocab_size) {
  return FieldError(ErrorReason::kTokenOutOfRange, absl::StrCat(field, "[", index, "]"),
                    Got(id, absl::StrCat("below ", vocab_size)), "an id is not in the vocabulary");
}

// Widens and returns the largest. Without a branch in the loop, so that it becomes vector code.
template <typename Word>
uint32_t Widen(const char* bytes, size_t count, int32_t* out) {
  uint32_t largest = 0;
  for (size_t i = 0; i < count; ++i) {
    Word word;
    std::memcpy(&word, bytes + i * sizeof(Word), sizeof(Word));
    out[i] = static_cast<int32_t>(word);
    largest = std::max(largest, static_cast<uint32_t>(word));
  }
  return largest;
}

// `first_index` is the name of the first id in errors about `field`.
absl::Status CheckVocabulary(absl::string_view field, const std::vector<int32_t>& ids,
                             uint32_t largest, int64_t vocab_size, int64_t first_index) {
  if (static_cast<int64_t>(largest) < vocab_size) return absl::OkStatus();
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto id = static_cast<uint32_t>(ids[i]);
    if (static_cast<int64_t>(id) >= vocab_size) {
      return OutOfVocabulary(field, first_index + static_cast<int64_t>(i), id, vocab_size);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> ReadList(absl::Span<const uint32_t> list, int64_t vocab_size,
                                              int64_t first_index) {
  std::vector<int32_t> ids(list.size());
  const uint32_t largest =
      Widen<uint32_t>(reinterpret_cast<const char*>(list.data()), list.size(), ids.data());
  absl::Status status = CheckVocabulary("tokens.ids_list", ids, largest, vocab_size, first_index);
  if (!status.ok()) return status;
  return ids;
}

}  // namespace

absl::StatusOr<std::vector<SequenceShape>> CheckTokenShape(const EncodeRequestData& request,
                                                           const EncoderInfo& info,
                                                           const RequestLimits& limits,
                                                           bool stream) {
  if (absl::Status status = CheckInputKinds(request, info); !status.ok()) return status;
  absl::StatusOr<Truncation> truncation = ReadTruncation(request, info);
  if (!truncation.ok()) return std::move(truncation).status();
  absl::StatusOr<std::vector<int64_t>> lengths = ReadLengths(request, limits, stream);
  if (!lengths.ok()) return std::move(lengths).status();
  std::vector<SequenceShape> shapes;
  shapes.reserve(lengths->size());
  for (size_t s = 0; s < lengths->size(); ++s) {
    const int64_t length = (*lengths)[s];
    const int64_t used = std::min(length, truncation->max_tokens);
    if (used < length && truncation->side == TruncationSide::kRefuse) {
      return FieldError(
          ErrorReason::kSequenceTooLong,
          request.lengths.empty() ? "tokens" : absl::StrCat("tokens.lengths[", s, "]"),
          Got(length, truncation->max_tokens), "a sequence is too long and is not to be truncated");
    }
    const int64_t cut = truncation->side == TruncationSide::kStart ? length - used : 0;
    shapes.push_back({.tokens_in = length, .first_kept = cut, .tokens_used = used});
  }
  if (absl::Status status = CheckTotals(shapes, info, limits, stream); !status.ok()) return status;
  return shapes;
}

absl::Status ReadTokenIds(const EncodeRequestData& request, int64_t vocab_size,
                          std::vector<ValidatedSequence>& sequences) {
  absl::StatusOr<int> width = ReadIdWidth(request, /*needed=*/false);
  if (!width.ok()) return std::move(width).status();
  int64_t next = 0;  // of all ids of the request
  for (ValidatedSequence& sequence : sequences) {
    absl::StatusOr<std::vector<int32_t>> ids =
        request.ids_bytes.empty()
            ? ReadList(absl::MakeConstSpan(request.ids_list).subspan(next, sequence.tokens_in),
                       vocab_size, next)
            : DecodeIds(request.ids_bytes.substr(next * *width, sequence.tokens_in * *width),
                        *width, vocab_size, next);
    if (!ids.ok()) return std::move(ids).status();
    next += sequence.tokens_in;
    if (sequence.truncated) {
      const auto first = ids->begin() + sequence.first_kept;
      sequence.token_ids.assign(first, first + sequence.tokens_used);
    } else {
      sequence.token_ids = *std::move(ids);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int32_t>> DecodeIds(absl::string_view bytes, int width,
                                               int64_t vocab_size, int64_t first_index) {
  if ((width != 1 && width != 2 && width != 4) || bytes.size() % width != 0) {
    return FieldError(ErrorReason::kBadIdWidth, "tokens.ids",
                      Got(absl::StrCat(bytes.size(), " bytes"), absl::StrCat("ids of ", width)),
                      "the bytes are not a whole number of ids");
  }
  std::vector<int32_t> ids(bytes.size() / width);
  const uint32_t largest = width == 1   ? Widen<uint8_t>(bytes.data(), ids.size(), ids.data())
                           : width == 2 ? Widen<uint16_t>(bytes.data(), ids.size(), ids.data())
                                        : Widen<uint32_t>(bytes.data(), ids.size(), ids.data());
  absl::Status status = CheckVocabulary("tokens.ids", ids, largest, vocab_size, first_index);
  if (!status.ok()) return status;
  return ids;
}

}  // namespace longwave
