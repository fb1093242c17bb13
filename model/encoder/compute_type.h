#ifndef LONGWAVE_MODEL_ENCODER_COMPUTE_TYPE_H_
#define LONGWAVE_MODEL_ENCODER_COMPUTE_TYPE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longwave {

// What the factors of the dense layers' products are rounded to (option and Info field
// compute_dtype). Sums, activations between the layers, features, c, denominators and transforms
// stay fp32 or better in all of them.
enum class ComputeType { kFp32, kTf32, kBf16 };

// INVALID_ARGUMENT names the field, the value and those accepted.
absl::StatusOr<ComputeType> ParseComputeType(absl::string_view name);
absl::string_view ComputeTypeName(ComputeType type);

// A CPU computes in fp32 only. INVALID_ARGUMENT if that was not what was asked for; `device_name`
// as in SelectedDevice.
absl::Status CheckComputeType(ComputeType type, absl::string_view device_name);

// How many times as far off as fp32 an output may be. Goldens are granted what weights that are off
// by 4 sqrt(K) 2^-24 change, K being the longest sum. Factors rounded to p bits are off by 2^-p
// each, two to a product: 2 * 2^-p / (4 sqrt(K) 2^-24) times as much. With the model's width for K
// (the shortest sum of a layer: the larger factor). Never below 1.
double ToleranceFactor(ComputeType type, int64_t width);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_COMPUTE_TYPE_H_
