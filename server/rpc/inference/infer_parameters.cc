#include "server/rpc/inference/infer_parameters.h"

#include <array>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "longwave/v1/encode.pb.h"
#include "model/base/error.h"
#include "server/admission/field_error.h"

namespace longwave {
namespace {

using inference::InferParameter;

using Word = std::pair<const char*, int>;  // and the number of the API's enum

constexpr std::array<Word, 6> kPoolings = {{{"mean", v1::POOLING_MEAN},
                                            {"cls", v1::POOLING_CLS},
                                            {"last", v1::POOLING_LAST},
                                            {"max", v1::POOLING_MAX},
                                            {"none", v1::POOLING_NONE},
                                            {"spans", v1::POOLING_SPANS}}};
constexpr std::array<Word, 5> kTypes = {{{"fp32", v1::DATA_TYPE_FP32},
                                         {"fp16", v1::DATA_TYPE_FP16},
                                         {"bf16", v1::DATA_TYPE_BF16},
                                         {"int8", v1::DATA_TYPE_INT8},
                                         {"binary", v1::DATA_TYPE_BINARY}}};
constexpr std::array<Word, 2> kSides = {
    {{"end", v1::TRUNCATION_SIDE_END}, {"start", v1::TRUNCATION_SIDE_START}}};

// The parameters of one request, read by name and type. Keeps the first error.
class Reader {
 public:
  explicit Reader(const InferParameters& parameters) : parameters_(parameters) {}

  std::optional<bool> Bool(const char* name) {
    const InferParameter* parameter = Find(name);
    if (parameter == nullptr) return std::nullopt;
    if (parameter->parameter_choice_case() == InferParameter::kBoolParam) {
      return parameter->bool_param();
    }
    Fail(name, Kind(*parameter), "bool");
    return std::nullopt;
  }

  std::optional<std::string> Text(const char* name) {
    const InferParameter* parameter = Find(name);
    if (parameter == nullptr) return std::nullopt;
    if (parameter->parameter_choice_case() == InferParameter::kStringParam) {
      return parameter->string_param();
    }
    Fail(name, Kind(*parameter), "string");
    return std::nullopt;
  }

  // From 0 to `largest`. Both kinds of integers: not every client has the unsigned one.
  std::optional<int64_t> Integer(const char* name, int64_t largest) {
    const InferParameter* parameter = Find(name);
    if (parameter == nullptr) return std::nullopt;
    const std::string range = absl::StrCat("0 to ", largest);
    if (parameter->parameter_choice_case() == InferParameter::kInt64Param) {
      const int64_t value = parameter->int64_param();
      if (value >= 0 && value <= largest) return value;
      Fail(name, absl::StrCat(value), range);
    } else if (parameter->parameter_choice_case() == InferParameter::kUint64Param) {
      const uint64_t value = parameter->uint64_param();
      if (std::cmp_less_equal(value, largest)) return static_cast<int64_t>(value);
      Fail(name, absl::StrCat(value), range);
    } else {
      Fail(name, Kind(*parameter), "integer");
    }
    return std::nullopt;
  }

  // The number of a word, in whatever case it is written.
  template <size_t n>
  std::optional<int> OneOf(const char* name, const std::array<Word, n>& words) {
    const std::optional<std::string> text = Text(name);
    if (!text.has_value()) return std::nullopt;
    std::vector<const char*> known;
    for (const Word& word : words) {
      if (absl::AsciiStrToLower(*text) == word.first) return word.second;
      known.push_back(word.first);
    }
    Fail(name, ShownText(*text), absl::StrJoin(known, ", "));
    return std::nullopt;
  }

  const absl::Status& status() const { return status_; }

 private:
  const InferParameter* Find(const char* name) const {
    const auto found = parameters_.find(name);
    return found == parameters_.end() ? nullptr : &found->second;
  }

  static std::string Kind(const InferParameter& parameter) {
    switch (parameter.parameter_choice_case()) {
      case InferParameter::kBoolParam:
        return "a bool";
      case InferParameter::kInt64Param:
      case InferParameter::kUint64Param:
        return "an integer";
      case InferParameter::kStringParam:
        return "a string";
      case InferParameter::kDoubleParam:
        return "a double";
      case InferParameter::PARAMETER_CHOICE_NOT_SET:
        break;
    }
    return "nothing";
  }

  void Fail(const char* name, const std::string& value, const std::string& limit) {
    if (!status_.ok()) return;
    status_ = FieldError(ErrorReason::kInvalidField, absl::StrCat("parameters[", name, "]"),
                         Got(value, limit), "the parameter has no such value");
  }

  const InferParameters& parameters_;
  absl::Status status_;
};

void ReadTruncation(Reader& read, EncodeRequestData* data) {
  if (read.Bool("truncate").value_or(false)) data->truncation_side = v1::TRUNCATION_SIDE_END;
  if (const auto side = read.OneOf("truncation_side", kSides)) data->truncation_side = *side;
  constexpr int64_t kMost = std::numeric_limits<uint32_t>::max();
  if (const auto tokens = read.Integer("truncate_max_tokens", kMost)) {
    data->truncation_max_tokens = static_cast<uint32_t>(*tokens);
  }
}

void ReadOutput(Reader& read, EncodeRequestData* data) {
  if (const auto pooling = read.OneOf("pooling", kPoolings)) data->pooling = *pooling;
  if (const auto type = read.OneOf("dtype", kTypes)) data->dtype = *type;
  if (const auto normalize = read.Bool("normalize")) data->normalize = *normalize;
  constexpr int64_t kMost = std::numeric_limits<uint32_t>::max();
  if (const auto dim = read.Integer("truncate_dim", kMost)) {
    data->truncate_dim = static_cast<uint32_t>(*dim);
  }
  data->allow_undeclared_dim = read.Bool("allow_undeclared_dim").value_or(false);
}

void ReadTerms(Reader& read, EncodeRequestData* data) {
  if (const auto text = read.Text("tokenizer_fingerprint")) data->tokenizer_fingerprint = *text;
  data->deterministic = read.Bool("deterministic").value_or(false);
  // Triton's rule: 0 is the default, and a smaller number is more urgent.
  if (const auto priority = read.Integer("priority", std::numeric_limits<int64_t>::max())) {
    data->priority = *priority > 1 ? v1::PRIORITY_BATCH : v1::PRIORITY_INTERACTIVE;
  }
  // A day is longer than any deadline here, and far from an overflow of the clock.
  constexpr std::chrono::microseconds kMost = std::chrono::hours(24);
  if (const auto micros = read.Integer("timeout", kMost.count()); micros.value_or(0) > 0) {
    data->timeout = std::chrono::microseconds(*micros);
  }
}

}  // namespace

absl::Status ReadInferParameters(const InferParameters& parameters, EncodeRequestData* data) {
  Reader read(parameters);
  ReadOutput(read, data);
  ReadTruncation(read, data);
  ReadTerms(read, data);
  return read.status();
}

}  // namespace longwave
