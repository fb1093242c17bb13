#include "model/encoder/compute_type.h"

#include <gtest/gtest.h>

#include "model/base/error.h"
#include "model/encoder/transformer_encoder.h"
#include "tests/unit/encoder/random_model.h"

namespace longwave {
namespace {

TEST(ComputeType, NamesAreReadBack) {
  for (const ComputeType type : {ComputeType::kFp32, ComputeType::kTf32, ComputeType::kBf16}) {
    const auto read = ParseComputeType(ComputeTypeName(type));
    ASSERT_TRUE(read.ok());
    EXPECT_EQ(*read, type);
  }
}

TEST(ComputeType, AnUnknownNameIsRefusedWithThoseAccepted) {
  const ErrorDetails details = GetErrorDetails(ParseComputeType("fp8").status());
  EXPECT_EQ(details.reason, ErrorReason::kInvalidField);
  EXPECT_EQ(details.field, "compute_dtype");
  EXPECT_EQ(details.value, "fp8");
  EXPECT_EQ(details.limit, "fp32, tf32, bf16");
}

TEST(ComputeType, ACpuComputesInFp32Only) {
  EXPECT_TRUE(CheckComputeType(ComputeType::kFp32, "cpu").ok());
  EXPECT_TRUE(CheckComputeType(ComputeType::kBf16, "cuda:0").ok());
  const ErrorDetails details = GetErrorDetails(CheckComputeType(ComputeType::kBf16, "cpu"));
  EXPECT_EQ(details.field, "compute_dtype");
  EXPECT_EQ(details.value, "bf16");
  EXPECT_EQ(details.limit, "fp32");
}

// On a machine without CUDA "auto" becomes the CPU, and that is said, not silently another type.
TEST(ComputeType, AnEncoderOnTheCpuRefusesOthers) {
  const ModelFolder folder = RandomModel(OneLayerConfig(), 1);
  for (const char* type : {"tf32", "bf16", "fp8"}) {
    TransformerEncoderOptions options = {.device = "cpu", .threads = 1, .compute_dtype = type};
    EXPECT_FALSE(options.Validate().ok()) << type;
    const auto encoder = TransformerEncoder::Create(folder, options);
    EXPECT_EQ(encoder.status().code(), absl::StatusCode::kInvalidArgument) << type;
  }
  const auto encoder = TransformerEncoder::Create(folder, {.device = "cpu", .threads = 1});
  ASSERT_TRUE(encoder.ok());
  EXPECT_EQ((*encoder)->Info().compute_dtype, "fp32");
}

TEST(ComputeType, ToleranceGrowsWithTheRounding) {
  EXPECT_EQ(ToleranceFactor(ComputeType::kFp32, 256), 1);
  // 2 * 2^-11 / (4 * 16 * 2^-24) and 2 * 2^-8 / (the same).
  EXPECT_DOUBLE_EQ(ToleranceFactor(ComputeType::kTf32, 256), 256);
  EXPECT_DOUBLE_EQ(ToleranceFactor(ComputeType::kBf16, 256), 2048);
  EXPECT_GE(ToleranceFactor(ComputeType::kTf32, int64_t{1} << 40), 1);
}

}  // namespace
}  // namespace longwave
