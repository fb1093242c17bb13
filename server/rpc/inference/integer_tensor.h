#ifndef LONGWAVE_SERVER_RPC_INFERENCE_INTEGER_TENSOR_H_
#define LONGWAVE_SERVER_RPC_INFERENCE_INTEGER_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "inference/inference_service.pb.h"

namespace longwave {

// How many bytes an element has where it lies, and how they are read.
enum class ElementType { kInt8, kInt16, kInt32, kInt64, kUint8, kUint16, kUint32, kUint64 };

// An input of whole numbers, its values where they came: in raw_input_contents or in the list of
// its type. A view of the request.
class IntegerTensor {
 public:
  // Checks the form of one input: its type is one of whole numbers (or BOOL), and there are as many
  // values as its shape says. `raw`: its entry of raw_input_contents; null: its values are a list.
  // UNSUPPORTED_INPUT, INVALID_FIELD, LENGTHS_MISMATCH, and CONFLICTING_FIELDS where both are
  // given.
  static absl::StatusOr<IntegerTensor> Read(
      const inference::ModelInferRequest::InferInputTensor& input, const std::string* raw);

  const std::string& name() const { return *name_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  int64_t size() const { return size_; }

  // Calls `visit(element)` with the tensor's type as that of the argument: a callable that reads
  // element `i` of it (little-endian, aligned or not).
  template <typename Visitor>
  auto Visit(Visitor visit) const {
    switch (type_) {
      case ElementType::kInt8:
        return visit(Element<int8_t>{bytes_.data()});
      case ElementType::kInt16:
        return visit(Element<int16_t>{bytes_.data()});
      case ElementType::kInt32:
        return visit(Element<int32_t>{bytes_.data()});
      case ElementType::kInt64:
        return visit(Element<int64_t>{bytes_.data()});
      case ElementType::kUint8:
        return visit(Element<uint8_t>{bytes_.data()});
      case ElementType::kUint16:
        return visit(Element<uint16_t>{bytes_.data()});
      case ElementType::kUint32:
        return visit(Element<uint32_t>{bytes_.data()});
      case ElementType::kUint64:
        break;
    }
    return visit(Element<uint64_t>{bytes_.data()});
  }

 private:
  template <typename T>
  struct Element {
    const char* data;

    T operator()(int64_t i) const {
      T value;
      std::memcpy(&value, data + i * sizeof(T), sizeof(T));
      return value;
    }
  };

  const std::string* name_ = nullptr;
  std::vector<int64_t> shape_;
  int64_t size_ = 0;
  ElementType type_ = ElementType::kInt32;
  absl::string_view bytes_;
};

// "inputs[NAME]" with `rest` behind it: how errors call an input.
std::string InputField(absl::string_view name, absl::string_view rest = "");
// "[2, 3]"
std::string ShapeText(const std::vector<int64_t>& shape);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_INFERENCE_INTEGER_TENSOR_H_
