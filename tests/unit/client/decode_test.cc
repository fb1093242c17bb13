#include "client/decode.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <string>
#include <vector>

namespace longwave::client {
namespace {

v1::EmbeddingBlock Block(v1::DataType dtype, uint32_t rows, uint32_t dim, std::string data) {
  v1::EmbeddingBlock block;
  block.set_dtype(dtype);
  block.set_rows(rows);
  block.set_dim(dim);
  block.set_data(std::move(data));
  return block;
}

std::vector<float> Decode(const v1::EmbeddingBlock& block) {
  EXPECT_TRUE(CheckBlock(block).ok()) << CheckBlock(block);
  std::vector<float> values(block.rows() * block.dim());
  DecodeRows(block, absl::MakeSpan(values));
  return values;
}

TEST(HalfToFloatTest, IsExactForEveryNumber) {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    const int exponent = (half >> 10) & 0x1F;
    const int fraction = half & 0x3FF;
    const double sign = half & 0x8000 ? -1.0 : 1.0;
    const float value = HalfToFloat(static_cast<uint16_t>(half));
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(value), fraction != 0) << half;
      EXPECT_EQ(std::isinf(value), fraction == 0) << half;
      EXPECT_EQ(std::signbit(value), sign < 0) << half;
      continue;
    }
    const double expected =
        exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    ASSERT_EQ(value, static_cast<float>(sign * expected)) << half;
    ASSERT_EQ(std::signbit(value), sign < 0) << half;
  }
}

TEST(DecodeRowsTest, ReadsLittleEndianFloats) {
  const auto block = Block(v1::DATA_TYPE_FP32, 1, 2, std::string("\0\0\x80\x3f\0\0\0\xc0", 8));
  EXPECT_EQ(Decode(block), (std::vector<float>{1.0f, -2.0f}));
}

TEST(DecodeRowsTest, ReadsHalfPrecision) {
  const auto block = Block(v1::DATA_TYPE_FP16, 2, 1, std::string("\x00\x3c\x00\xc0", 4));
  EXPECT_EQ(Decode(block), (std::vector<float>{1.0f, -2.0f}));
}

TEST(DecodeRowsTest, ReadsBrainFloats) {
  const auto block = Block(v1::DATA_TYPE_BF16, 1, 2, std::string("\x80\x3f\x49\x40", 4));
  EXPECT_EQ(Decode(block), (std::vector<float>{1.0f, 3.140625f}));
}

TEST(DecodeRowsTest, ScalesEachInt8RowByItsOwn) {
  auto block = Block(v1::DATA_TYPE_INT8, 2, 2, std::string("\x7f\x81\x02\x00", 4));
  block.add_scales(0.5f);
  block.add_scales(2.0f);
  EXPECT_EQ(Decode(block), (std::vector<float>{63.5f, -63.5f, 4.0f, 0.0f}));
}

TEST(DecodeRowsTest, MakesSignsOfBitsMostSignificantFirst) {
  const auto block = Block(v1::DATA_TYPE_BINARY, 2, 8, "\xA0\x01");
  EXPECT_EQ(Decode(block),
            (std::vector<float>{1, -1, 1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 1}));
}

TEST(DecodeRowsTest, TakesAnEmptyBlock) { EXPECT_TRUE(Decode(v1::EmbeddingBlock()).empty()); }

TEST(CheckBlockTest, RefusesPartsThatDoNotFit) {
  std::vector<v1::EmbeddingBlock> bad = {
      Block(v1::DATA_TYPE_FP32, 1, 2, "1234567"),
      Block(v1::DATA_TYPE_FP32, 2, 2, std::string(8, 'x')),
      Block(v1::DATA_TYPE_FP32, 1, 0, ""),
      Block(v1::DATA_TYPE_FP32, 0xFFFFFFFF, 0xFFFFFFFF, ""),
      Block(v1::DATA_TYPE_INT8, 1, 2, "12"),  // no scale
      Block(v1::DATA_TYPE_BINARY, 1, 12, "1"),
      Block(static_cast<v1::DataType>(77), 1, 2, "12"),
  };
  for (const auto& block : bad) {
    EXPECT_TRUE(absl::IsDataLoss(CheckBlock(block))) << block.ShortDebugString();
  }
}

}  // namespace
}  // namespace longwave::client
