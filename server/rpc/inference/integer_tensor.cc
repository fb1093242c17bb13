#include "server/rpc/inference/integer_tensor.h"

#include <array>
#include <bit>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/base/error.h"
#include "server/admission/field_error.h"
#include "server/observability/safe_text.h"

namespace longwave {
namespace {

using Input = inference::ModelInferRequest::InferInputTensor;

static_assert(std::endian::native == std::endian::little, "raw contents are read without swapping");

// Shapes longer than this are nobody's; it bounds what an error repeats.
constexpr int kMaxRank = 8;

struct TypeRow {
  const char* name;
  ElementType raw;   // as it lies in raw_input_contents
  ElementType list;  // as protobuf's list of it holds it
  size_t raw_bytes;
};

constexpr std::array<TypeRow, 9> kTypes = {{
    {"BOOL", ElementType::kUint8, ElementType::kUint8, 1},
    {"INT8", ElementType::kInt8, ElementType::kInt32, 1},
    {"INT16", ElementType::kInt16, ElementType::kInt32, 2},
    {"INT32", ElementType::kInt32, ElementType::kInt32, 4},
    {"INT64", ElementType::kInt64, ElementType::kInt64, 8},
    {"UINT8", ElementType::kUint8, ElementType::kUint32, 1},
    {"UINT16", ElementType::kUint16, ElementType::kUint32, 2},
    {"UINT32", ElementType::kUint32, ElementType::kUint32, 4},
    {"UINT64", ElementType::kUint64, ElementType::kUint64, 8},
}};

const TypeRow* FindType(const std::string& datatype) {
  for (const TypeRow& row : kTypes) {
    if (row.name == datatype) return &row;
  }
  return nullptr;
}

absl::Status UnknownType(const Input& input) {
  std::vector<std::string> known;
  for (const TypeRow& row : kTypes) known.emplace_back(row.name);
  return FieldError(ErrorReason::kUnsupportedInput, InputField(input.name(), ".datatype"),
                    Got(ShownText(input.datatype()), absl::StrJoin(known, ", ")),
                    "the input is one of whole numbers");
}

// The number of elements; unset: more than there can be.
std::optional<int64_t> ElementCount(const std::vector<int64_t>& shape) {
  // An empty dimension makes any shape empty, in whatever order they come.
  for (const int64_t dim : shape) {
    if (dim == 0) return 0;
  }
  int64_t count = 1;
  for (const int64_t dim : shape) {
    if (dim > std::numeric_limits<int32_t>::max() / count) return std::nullopt;
    count *= dim;
  }
  return count;
}

absl::StatusOr<int64_t> CheckShape(const Input& input, const std::vector<int64_t>& shape) {
  const std::string field = InputField(input.name(), ".shape");
  for (const int64_t dim : shape) {
    if (dim >= 0) continue;
    return FieldError(ErrorReason::kInvalidField, field, Got(ShapeText(shape), "sizes from 0"),
                      "a size is negative");
  }
  const std::optional<int64_t> count = ElementCount(shape);
  if (count.has_value()) return *count;
  return FieldError(ErrorReason::kInvalidField, field,
                    Got(ShapeText(shape), std::numeric_limits<int32_t>::max()),
                    "the tensor has too many elements");
}

template <typename T>
absl::string_view BytesOf(const google::protobuf::RepeatedField<T>& list) {
  return {reinterpret_cast<const char*>(list.data()), list.size() * sizeof(T)};
}

// The list that values of the type travel in.
absl::string_view ListOf(const inference::InferTensorContents& contents, const TypeRow& type) {
  switch (type.list) {
    case ElementType::kInt32:
      return BytesOf(contents.int_contents());
    case ElementType::kInt64:
      return BytesOf(contents.int64_contents());
    case ElementType::kUint32:
      return BytesOf(contents.uint_contents());
    case ElementType::kUint64:
      return BytesOf(contents.uint64_contents());
    default:
      static_assert(sizeof(bool) == 1, "bool_contents are read as bytes");
      return BytesOf(contents.bool_contents());
  }
}

size_t BytesPer(ElementType type) {
  switch (type) {
    case ElementType::kInt8:
    case ElementType::kUint8:
      return 1;
    case ElementType::kInt16:
    case ElementType::kUint16:
      return 2;
    case ElementType::kInt32:
    case ElementType::kUint32:
      return 4;
    case ElementType::kInt64:
    case ElementType::kUint64:
      break;
  }
  return 8;
}

}  // namespace

absl::StatusOr<IntegerTensor> IntegerTensor::Read(const Input& input, const std::string* raw) {
  const TypeRow* type = FindType(input.datatype());
  if (type == nullptr) return UnknownType(input);
  if (raw != nullptr && input.has_contents()) {
    return FieldError(ErrorReason::kConflictingFields, InputField(input.name(), ".contents"), {},
                      "raw_input_contents are given, and then all inputs have theirs there");
  }
  if (input.shape_size() > kMaxRank) {
    return FieldError(ErrorReason::kInvalidField, InputField(input.name(), ".shape"),
                      Got(absl::StrCat(input.shape_size(), " dimensions"), kMaxRank),
                      "the shape has too many dimensions");
  }
  IntegerTensor tensor;
  tensor.name_ = &input.name();
  tensor.shape_.assign(input.shape().begin(), input.shape().end());
  const absl::StatusOr<int64_t> count = CheckShape(input, tensor.shape_);
  if (!count.ok()) return count.status();
  tensor.size_ = *count;
  tensor.type_ = raw != nullptr ? type->raw : type->list;
  tensor.bytes_ = raw != nullptr ? absl::string_view(*raw) : ListOf(input.contents(), *type);
  const size_t element_bytes = BytesPer(tensor.type_);
  if (tensor.bytes_.size() != static_cast<size_t>(*count) * element_bytes) {
    return FieldError(ErrorReason::kLengthsMismatch, InputField(input.name()),
                      Got(absl::StrCat(tensor.bytes_.size(), " bytes"),
                          absl::StrCat(static_cast<size_t>(*count) * element_bytes)),
                      absl::StrCat("the values are not those of a tensor of shape ",
                                   ShapeText(tensor.shape_), " and type ", input.datatype()));
  }
  return tensor;
}

std::string InputField(absl::string_view name, absl::string_view rest) {
  return absl::StrCat("inputs[", SafeText({name.data(), name.size()}), "]", rest);
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

}  // namespace longwave
