#include "server/rpc/row_packer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace longwave {
namespace {

static_assert(std::endian::native == std::endian::little,
              "rows are copied as they lie in memory, and the wire is little-endian");

float PackInt8(absl::Span<const float> row, char* out) {
  float largest = 0;
  for (const float value : row) largest = std::max(largest, std::abs(value));
  if (largest == 0) {
    std::fill_n(out, row.size(), 0);
    return 1.0f;
  }
  // Never subnormal: a scale with few bits, or none, would make the quotients wrong or infinite.
  const float scale = std::max(largest / 127.0f, std::numeric_limits<float>::min());
  for (size_t i = 0; i < row.size(); ++i) {
    // The quotient may exceed 127 by a rounding.
    const float scaled = std::clamp(std::nearbyint(row[i] / scale), -127.0f, 127.0f);
    out[i] = static_cast<char>(static_cast<int8_t>(scaled));
  }
  return scale;
}

void PackBinary(absl::Span<const float> row, char* out) {
  for (size_t byte = 0; byte < row.size() / 8; ++byte) {
    unsigned bits = 0;
    for (size_t i = 0; i < 8; ++i) bits = bits << 1 | (row[byte * 8 + i] > 0 ? 1u : 0u);
    out[byte] = static_cast<char>(bits);
  }
}

}  // namespace

int64_t PackedRowBytes(OutputType type, int64_t dim) {
  switch (type) {
    case OutputType::kFp32:
      return dim * 4;
    case OutputType::kFp16:
    case OutputType::kBf16:
      return dim * 2;
    case OutputType::kInt8:
      return dim;
    case OutputType::kBinary:
      return dim / 8;
  }
  return 0;
}

int64_t WireRowBytes(OutputType type, int64_t dim) {
  const int64_t scale_bytes = type == OutputType::kInt8 ? sizeof(float) : 0;
  return PackedRowBytes(type, dim) + scale_bytes;
}

float PackRow(OutputType type, absl::Span<const float> row, char* out) {
  switch (type) {
    case OutputType::kFp32:
      std::memcpy(out, row.data(), row.size() * sizeof(float));
      break;
    case OutputType::kFp16:
    case OutputType::kBf16:
      for (size_t i = 0; i < row.size(); ++i) {
        const uint16_t bits =
            type == OutputType::kFp16 ? FloatToHalf(row[i]) : FloatToBfloat16(row[i]);
        std::memcpy(out + 2 * i, &bits, 2);
      }
      break;
    case OutputType::kInt8:
      return PackInt8(row, out);
    case OutputType::kBinary:
      PackBinary(row, out);
      break;
  }
  return 1.0f;
}

uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const float magnitude = std::abs(value);
  if (std::isnan(value)) return sign | 0x7e00;
  if (magnitude >= 65520.0f) return sign | 0x7c00;  // rounds above the largest half, 65504
  if (magnitude < 0x1p-14f) {
    // Subnormal halves are multiples of 2^-24: adding 2^-1, whose last bit is 2^-24, rounds to one.
    const float rounded = magnitude + 0.5f;
    return sign |
           static_cast<uint16_t>(std::bit_cast<uint32_t>(rounded) - std::bit_cast<uint32_t>(0.5f));
  }
  const uint32_t magnitude_bits = bits & 0x7fffffff;
  const uint32_t odd = magnitude_bits >> 13 & 1;
  const uint32_t rounded = magnitude_bits + 0xfff + odd;
  return sign | static_cast<uint16_t>((rounded >> 13) - ((127 - 15) << 10));
}

uint16_t FloatToBfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace longwave
