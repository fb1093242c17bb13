#include "server/rpc/row_packer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace longwave {
namespace {

using ::testing::ElementsAre;

// By the definition of the format: sign, 5 bits of exponent, 10 of fraction.
double HalfValue(uint16_t half) {
  const int exponent = half >> 10 & 0x1f;
  const int fraction = half & 0x3ff;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

std::string Pack(OutputType type, const std::vector<float>& row, float* scale = nullptr) {
  std::string out(static_cast<size_t>(PackedRowBytes(type, static_cast<int64_t>(row.size()))), 'x');
  const float returned = PackRow(type, row, out.data());
  if (scale != nullptr) *scale = returned;
  return out;
}

TEST(RowPackerTest, EveryHalfComesBackAsItself) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    if ((half >> 10 & 0x1f) == 31) continue;  // infinities and what is not a number
    EXPECT_EQ(FloatToHalf(static_cast<float>(HalfValue(half))), half) << bits;
  }
}

TEST(RowPackerTest, HalvesRoundToTheNearestAndTiesToEven) {
  // Between each pair of neighbours: a quarter, the middle, three quarters. All are exact floats.
  for (uint16_t half = 0; half < 0x7bff; ++half) {
    const double low = HalfValue(half);
    const double high = HalfValue(half + 1);
    const auto at = [&](double part) {
      return FloatToHalf(static_cast<float>(low + (high - low) * part));
    };
    const uint16_t even = half % 2 == 0 ? half : half + 1;
    ASSERT_EQ(at(0.25), half);
    ASSERT_EQ(at(0.75), half + 1);
    ASSERT_EQ(at(0.5), even);
    ASSERT_EQ(FloatToHalf(-static_cast<float>(low + (high - low) * 0.5)), even | 0x8000);
  }
}

TEST(RowPackerTest, HalvesOverflowToInfinityAndKeepSigns) {
  EXPECT_EQ(FloatToHalf(65504.0f), 0x7bff);
  EXPECT_EQ(FloatToHalf(65519.99f), 0x7bff);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7c00);
  EXPECT_EQ(FloatToHalf(-1e38f), 0xfc00);
  EXPECT_EQ(FloatToHalf(-0.0f), 0x8000);
  EXPECT_EQ(FloatToHalf(std::numeric_limits<float>::infinity()), 0x7c00);
  EXPECT_EQ(FloatToHalf(std::numeric_limits<float>::quiet_NaN()) & 0x7e00, 0x7e00);
  EXPECT_EQ(FloatToHalf(std::numeric_limits<float>::denorm_min()), 0);
}

TEST(RowPackerTest, BfloatRoundsToTheNearestAndTiesToEven) {
  std::mt19937 random(1);
  for (int i = 0; i < 100'000; ++i) {
    const auto value = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (!std::isfinite(value)) continue;
    const uint32_t low_bits = std::bit_cast<uint32_t>(value) & 0xffff0000u;
    const auto low = std::bit_cast<float>(low_bits);
    const auto high = std::bit_cast<float>(low_bits + 0x10000u);
    const auto packed = std::bit_cast<float>(uint32_t{FloatToBfloat16(value)} << 16);
    if (!std::isfinite(high)) continue;  // above the largest bfloat16
    const double below = std::abs(double{value} - low);
    const double above = std::abs(double{high} - value);
    if (below < above) {
      EXPECT_EQ(packed, low);
    } else if (above < below) {
      EXPECT_EQ(packed, high);
    } else {
      EXPECT_EQ(FloatToBfloat16(value) % 2, 0);
    }
  }
  EXPECT_TRUE(std::isnan(std::bit_cast<float>(
      uint32_t{FloatToBfloat16(std::numeric_limits<float>::quiet_NaN())} << 16)));
}

TEST(RowPackerTest, Fp32IsTheBytesThemselves) {
  const std::vector<float> row = {1.5f, -0.0f, 3e-41f};
  const std::string bytes = Pack(OutputType::kFp32, row);
  ASSERT_EQ(bytes.size(), 12u);
  EXPECT_EQ(std::memcmp(bytes.data(), row.data(), 12), 0);
}

TEST(RowPackerTest, Int8IsWithinHalfAStepOfEveryValue) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> row(257);
  for (float& value : row) value = normal(random);
  float scale = 0;
  const std::string bytes = Pack(OutputType::kInt8, row, &scale);
  float largest = 0;
  for (const float value : row) largest = std::max(largest, std::abs(value));
  EXPECT_FLOAT_EQ(scale, largest / 127);
  for (size_t i = 0; i < row.size(); ++i) {
    const auto quantised = static_cast<int8_t>(bytes[i]);
    EXPECT_LE(std::abs(quantised * scale - row[i]), scale * 0.5001f) << i;
    EXPECT_GE(quantised, -127);
  }
}

TEST(RowPackerTest, Int8OfExtremeRowsStaysFinite) {
  float scale = 0;
  EXPECT_EQ(Pack(OutputType::kInt8, {0, -0.0f}, &scale), std::string(2, '\0'));
  EXPECT_EQ(scale, 1.0f);
  const std::string tiny = Pack(OutputType::kInt8, {1e-45f, -1e-45f}, &scale);
  EXPECT_TRUE(std::isnormal(scale));
  EXPECT_EQ(tiny, std::string(2, '\0'));
  const float huge = std::numeric_limits<float>::max();
  EXPECT_EQ(Pack(OutputType::kInt8, {huge, -huge}, &scale), "\x7f\x81");
}

TEST(RowPackerTest, BinaryTakesSignsMostSignificantFirst) {
  const std::vector<float> row = {1, -1, 0, 2, -0.0f, 1e-45f, -3, 4, 1, 1, 1, 1, 1, 1, 1, 1};
  const std::string bytes = Pack(OutputType::kBinary, row);
  ASSERT_EQ(bytes.size(), 2u);
  EXPECT_EQ(static_cast<uint8_t>(bytes[0]), 0b10010101);
  EXPECT_EQ(static_cast<uint8_t>(bytes[1]), 0xff);
}

}  // namespace
}  // namespace longwave
