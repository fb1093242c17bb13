#ifndef LONGWAVE_MODEL_WEIGHTS_SAFETENSORS_H_
#define LONGWAVE_MODEL_WEIGHTS_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longwave {

enum class StoredType { kF32, kF16, kBf16 };

// Where one tensor lies in the data that follows the header.
struct StoredTensor {
  StoredType type = StoredType::kF32;
  std::vector<int64_t> shape;
  int64_t begin = 0;  // bytes
  int64_t end = 0;
};

// The table of contents of a safetensors file, checked as a whole: any bytes are safe to pass.
// Refused: a header above 16 MiB or beyond the file, JSON that is not strict, keys or types that
// are not ours, shapes whose product overflows or does not fit the bytes, and tensors that do not
// lie side by side from the first byte of the data to the last (no hole, no overlap, nothing
// after).
class SafetensorsFile {
 public:
  // `bytes` is the whole file and outlives the result.
  static absl::StatusOr<SafetensorsFile> Parse(absl::string_view bytes);

  const std::map<std::string, StoredTensor, std::less<>>& tensors() const { return tensors_; }
  // The values in fp32, row-major. INVALID_ARGUMENT names the first one that is not finite.
  absl::StatusOr<std::vector<float>> Read(const std::string& name) const;

 private:
  absl::string_view data_;
  std::map<std::string, StoredTensor, std::less<>> tensors_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_WEIGHTS_SAFETENSORS_H_
