#include "model/encoder/compute_type.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "model/base/error.h"

namespace longwave {
namespace {

struct TypeFacts {
  ComputeType type;
  absl::string_view name;
  int significant_bits;
};
constexpr TypeFacts kTypes[] = {{ComputeType::kFp32, "fp32", 24},
                                {ComputeType::kTf32, "tf32", 11},
                                {ComputeType::kBf16, "bf16", 8}};

const TypeFacts& FactsOf(ComputeType type) {
  return *std::find_if(std::begin(kTypes), std::end(kTypes),
                       [type](const TypeFacts& facts) { return facts.type == type; });
}

absl::Status Refuse(absl::string_view value, absl::string_view limit, absl::string_view why) {
  return MakeError({.reason = ErrorReason::kInvalidField,
                    .field = "compute_dtype",
                    .value = std::string(value),
                    .limit = std::string(limit)},
                   why);
}

}  // namespace

absl::StatusOr<ComputeType> ParseComputeType(absl::string_view name) {
  for (const TypeFacts& facts : kTypes) {
    if (facts.name == name) return facts.type;
  }
  return Refuse(name, "fp32, tf32, bf16", "accepted: fp32, tf32, bf16");
}

absl::string_view ComputeTypeName(ComputeType type) { return FactsOf(type).name; }

absl::Status CheckComputeType(ComputeType type, absl::string_view device_name) {
  if (device_name != "cpu" || type == ComputeType::kFp32) return absl::OkStatus();
  return Refuse(ComputeTypeName(type), "fp32",
                "a CPU computes in fp32 only; tf32 and bf16 need a CUDA device");
}

double ToleranceFactor(ComputeType type, int64_t width) {
  const double rounding = std::ldexp(2.0, -FactsOf(type).significant_bits);
  const double granted = std::ldexp(4 * std::sqrt(static_cast<double>(width)), -24);
  return type == ComputeType::kFp32 ? 1 : std::max(1.0, rounding / granted);
}

}  // namespace longwave
