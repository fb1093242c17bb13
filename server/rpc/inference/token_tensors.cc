#include "server/rpc/inference/token_tensors.h"

#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "longwave/v1/encode.pb.h"
#include "model/base/error.h"
#include "server/admission/field_error.h"
#include "server/observability/safe_text.h"
#include "server/rpc/inference/integer_tensor.h"

namespace longwave {
namespace {

constexpr std::array<const char*, 4> kInputs = {kInputIds, kInputLengths, kInputMask, kInputSpans};

// A request's inputs in the order of kInputs; unset: not given.
using Inputs = std::array<std::optional<IntegerTensor>, kInputs.size()>;

// Where the tokens of one sequence lie in input_ids.
struct Stretch {
  int64_t begin = 0;
  int64_t length = 0;
};

std::optional<size_t> InputIndex(const std::string& name) {
  for (size_t i = 0; i < kInputs.size(); ++i) {
    if (name == kInputs[i]) return i;
  }
  return std::nullopt;
}

absl::Status RefuseSharedMemory(const inference::ModelInferRequest::InferInputTensor& input) {
  for (const auto& [key, value] : input.parameters()) {
    if (!absl::StartsWith(key, "shared_memory_")) continue;
    return FieldError(ErrorReason::kNotImplemented,
                      InputField(input.name(), absl::StrCat(".parameters[", SafeText(key), "]")),
                      {}, "this server reads no shared memory");
  }
  return absl::OkStatus();
}

absl::Status CheckRawCount(const inference::ModelInferRequest& request) {
  const int raw = request.raw_input_contents_size();
  if (raw == 0 || raw == request.inputs_size()) return absl::OkStatus();
  return FieldError(ErrorReason::kLengthsMismatch, "raw_input_contents",
                    Got(absl::StrCat(raw, " entries"), request.inputs_size()),
                    "there is not one entry for each input");
}

absl::StatusOr<Inputs> ReadInputs(const inference::ModelInferRequest& request) {
  // Before the count: inputs in shared memory have no entry.
  for (const auto& input : request.inputs()) {
    if (absl::Status status = RefuseSharedMemory(input); !status.ok()) return status;
  }
  if (absl::Status status = CheckRawCount(request); !status.ok()) return status;
  Inputs inputs;
  for (int i = 0; i < request.inputs_size(); ++i) {
    const auto& input = request.inputs(i);
    const std::optional<size_t> index = InputIndex(input.name());
    const std::string field = absl::StrCat("inputs[", i, "].name");
    if (!index.has_value()) {
      return FieldError(ErrorReason::kUnsupportedInput, field,
                        Got(ShownText(input.name()), absl::StrJoin(kInputs, ", ")),
                        "the model has no such input");
    }
    if (inputs[*index].has_value()) {
      return FieldError(ErrorReason::kConflictingFields, field,
                        Got(ShownText(input.name()), "each once"), "the input is given twice");
    }
    const std::string* raw =
        request.raw_input_contents_size() > 0 ? &request.raw_input_contents(i) : nullptr;
    absl::StatusOr<IntegerTensor> tensor = IntegerTensor::Read(input, raw);
    if (!tensor.ok()) return tensor.status();
    inputs[*index] = *std::move(tensor);
  }
  return inputs;
}

absl::Status BadShape(const IntegerTensor& tensor, absl::string_view wanted) {
  return FieldError(ErrorReason::kInvalidField, InputField(tensor.name(), ".shape"),
                    Got(ShapeText(tensor.shape()), wanted), "the shape is not that of the input");
}

// [batch, tokens] of input_ids.
absl::StatusOr<std::array<int64_t, 2>> BatchShape(const IntegerTensor& ids, int64_t max_sequences) {
  const std::vector<int64_t>& shape = ids.shape();
  if (shape.empty() || shape.size() > 2) return BadShape(ids, "[batch, tokens] or [tokens]");
  const std::array<int64_t, 2> result = {shape.size() == 2 ? shape[0] : 1, shape.back()};
  if (result[0] == 0) {
    return FieldError(ErrorReason::kEmptyRequest, InputField(ids.name(), ".shape"),
                      Got(ShapeText(shape), "a batch from 1"), "the request has no sequences");
  }
  // Here rather than by the validator: nothing may be made for each of what may be very many.
  if (result[0] > max_sequences) {
    return FieldError(ErrorReason::kRequestTooLarge, InputField(ids.name(), ".shape"),
                      Got(ShapeText(shape), absl::StrCat(max_sequences, " sequences")),
                      "the batch is too large");
  }
  if (result[1] == 0) {
    return FieldError(ErrorReason::kEmptySequence, InputField(ids.name(), ".shape"),
                      Got(ShapeText(shape), "tokens from 1"), "the sequences have no tokens");
  }
  return result;
}

absl::StatusOr<std::vector<Stretch>> StretchesByLengths(const IntegerTensor& lengths, int64_t batch,
                                                        int64_t tokens) {
  const std::vector<int64_t>& shape = lengths.shape();
  const bool fits = (shape.size() == 1 && shape[0] == batch) ||
                    (shape.size() == 2 && shape[0] == batch && shape[1] == 1);
  if (!fits) return BadShape(lengths, absl::StrCat("[", batch, ", 1]"));
  return lengths.Visit([&](auto element) -> absl::StatusOr<std::vector<Stretch>> {
    std::vector<Stretch> stretches(static_cast<size_t>(batch));
    for (int64_t s = 0; s < batch; ++s) {
      const auto length = element(s);
      if (std::cmp_less(length, 0) || std::cmp_greater(length, tokens)) {
        return FieldError(ErrorReason::kLengthsMismatch,
                          InputField(lengths.name(), absl::StrCat("[", s, "]")),
                          Got(absl::StrCat(+length), absl::StrCat("0 to ", tokens)),
                          "a length is none of input_ids");
      }
      stretches[static_cast<size_t>(s)] = {s * tokens, static_cast<int64_t>(length)};
    }
    return stretches;
  });
}

// One element of a matrix, for errors.
std::string PlaceField(const IntegerTensor& tensor, int64_t row, int64_t column) {
  return InputField(tensor.name(), absl::StrCat("[", row, "][", column, "]"));
}

// The ones of each row, which must be one stretch: attention over what lies on both sides of a hole
// would be that of another text.
absl::StatusOr<std::vector<Stretch>> StretchesByMask(const IntegerTensor& mask,
                                                     const IntegerTensor& ids, int64_t batch,
                                                     int64_t tokens) {
  if (mask.shape() != ids.shape()) return BadShape(mask, ShapeText(ids.shape()));
  return mask.Visit([&](auto element) -> absl::StatusOr<std::vector<Stretch>> {
    std::vector<Stretch> stretches(static_cast<size_t>(batch));
    for (int64_t s = 0; s < batch; ++s) {
      Stretch& stretch = stretches[static_cast<size_t>(s)];
      stretch.begin = s * tokens;
      for (int64_t t = 0; t < tokens; ++t) {
        const auto value = element(s * tokens + t);
        if (value != 0 && value != 1) {
          return FieldError(ErrorReason::kInvalidField, PlaceField(mask, s, t),
                            Got(absl::StrCat(+value), "0 or 1"), "the mask has another value");
        }
        if (value == 0) continue;
        if (stretch.length == 0) stretch.begin = s * tokens + t;
        if (stretch.begin + stretch.length != s * tokens + t) {
          return FieldError(ErrorReason::kInvalidField, PlaceField(mask, s, t),
                            Got("1", "one stretch of ones a row"), "the mask has a hole");
        }
        ++stretch.length;
      }
    }
    return stretches;
  });
}

absl::StatusOr<std::vector<Stretch>> ReadStretches(const Inputs& inputs, int64_t batch,
                                                   int64_t tokens) {
  const auto& [ids, lengths, mask, spans] = inputs;
  if (lengths.has_value() && mask.has_value()) {
    return FieldError(ErrorReason::kConflictingFields, InputField(kInputMask), {},
                      "both lengths and attention_mask say which ids are padding");
  }
  if (lengths.has_value()) return StretchesByLengths(*lengths, batch, tokens);
  if (mask.has_value()) return StretchesByMask(*mask, *ids, batch, tokens);
  std::vector<Stretch> whole(static_cast<size_t>(batch));
  for (int64_t s = 0; s < batch; ++s) whole[static_cast<size_t>(s)] = {s * tokens, tokens};
  return whole;
}

absl::Status OutOfVocabulary(const IntegerTensor& ids, int64_t index, int64_t tokens,
                             const std::string& value, int64_t vocab_size) {
  return FieldError(ErrorReason::kTokenOutOfRange, PlaceField(ids, index / tokens, index % tokens),
                    Got(value, absl::StrCat("0 to ", vocab_size - 1)),
                    "a token id is outside the model's vocabulary");
}

// Copies the ids of the stretches as uint32, one behind the other. Here is where negative ones and
// those beyond 32 bits are found: the form that the validator sees has none.
absl::Status CopyIds(const IntegerTensor& ids, const std::vector<Stretch>& stretches,
                     int64_t tokens, int64_t vocab_size, std::string* store) {
  int64_t total = 0;
  for (const Stretch& stretch : stretches) total += stretch.length;
  store->resize(static_cast<size_t>(total) * sizeof(uint32_t));
  return ids.Visit([&](auto element) -> absl::Status {
    char* out = store->data();
    for (const Stretch& stretch : stretches) {
      for (int64_t i = stretch.begin; i < stretch.begin + stretch.length; ++i) {
        const auto id = element(i);
        if (std::cmp_less(id, 0) || std::cmp_greater_equal(id, vocab_size)) {
          return OutOfVocabulary(ids, i, tokens, absl::StrCat(+id), vocab_size);
        }
        const auto narrow = static_cast<uint32_t>(id);
        std::memcpy(out, &narrow, sizeof(narrow));
        out += sizeof(narrow);
      }
    }
    return absl::OkStatus();
  });
}

absl::Status ReadSpans(const IntegerTensor& spans, EncodeRequestData* data) {
  if (spans.shape().size() != 2 || spans.shape()[1] != 3) return BadShape(spans, "[spans, 3]");
  return spans.Visit([&](auto element) -> absl::Status {
    for (int64_t i = 0; i < spans.size(); ++i) {
      const auto value = element(i);
      if (std::in_range<uint32_t>(value)) continue;
      return FieldError(ErrorReason::kInvalidField,
                        InputField(spans.name(), absl::StrCat("[", i / 3, "][", i % 3, "]")),
                        Got(absl::StrCat(+value), "0 to 4294967295"),
                        "no position is such a number");
    }
    for (int64_t i = 0; i < spans.size(); i += 3) {
      data->spans.push_back({.sequence = static_cast<uint32_t>(element(i)),
                             .begin = static_cast<uint32_t>(element(i + 1)),
                             .end = static_cast<uint32_t>(element(i + 2))});
    }
    return absl::OkStatus();
  });
}

}  // namespace

absl::Status ReadTokenTensors(const inference::ModelInferRequest& request,
                              const TokenTensorRules& rules, std::string* store,
                              EncodeRequestData* data) {
  absl::StatusOr<Inputs> inputs = ReadInputs(request);
  if (!inputs.ok()) return inputs.status();
  const auto& [ids, lengths, mask, spans] = *inputs;
  if (!ids.has_value()) {
    return FieldError(ErrorReason::kMissingField, "inputs", {},
                      absl::StrCat("the request has no input ", kInputIds));
  }
  const auto shape = BatchShape(*ids, rules.max_sequences);
  if (!shape.ok()) return shape.status();
  const auto [batch, tokens] = *shape;
  const auto stretches = ReadStretches(*inputs, batch, tokens);
  if (!stretches.ok()) return stretches.status();
  absl::Status status = CopyIds(*ids, *stretches, tokens, rules.vocab_size, store);
  data->ids_bytes = *store;
  data->id_width = v1::ID_WIDTH_U32;
  data->lengths.reserve(stretches->size());
  for (const Stretch& stretch : *stretches) {
    data->lengths.push_back(static_cast<uint32_t>(stretch.length));
  }
  if (status.ok() && spans.has_value()) status = ReadSpans(*spans, data);
  return status;
}

}  // namespace longwave
