#include "client/decode.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace longwave::client {
namespace {

static_assert(std::endian::native == std::endian::little, "the wire is little-endian");

// Calls store(i, word) for each 2-byte word.
template <typename Store>
void ForEachWord(const std::string& data, size_t count, Store store) {
  for (size_t i = 0; i < count; ++i) {
    uint16_t word;
    std::memcpy(&word, data.data() + 2 * i, 2);
    store(i, word);
  }
}

void DecodeInt8(const v1::EmbeddingBlock& block, absl::Span<float> out) {
  const size_t dim = block.dim();
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(static_cast<int8_t>(block.data()[i])) * block.scales(i / dim);
  }
}

void DecodeBinary(const std::string& data, absl::Span<float> out) {
  // dim is a multiple of 8, so rows begin at whole bytes.
  for (size_t i = 0; i < out.size(); ++i) {
    const bool set = (static_cast<uint8_t>(data[i / 8]) >> (7 - i % 8)) & 1;
    out[i] = set ? 1.0f : -1.0f;
  }
}

}  // namespace

int64_t RowBytes(v1::DataType dtype, int64_t dim) {
  switch (dtype) {
    case v1::DATA_TYPE_UNSPECIFIED:
    case v1::DATA_TYPE_FP32:
      return 4 * dim;
    case v1::DATA_TYPE_FP16:
    case v1::DATA_TYPE_BF16:
      return 2 * dim;
    case v1::DATA_TYPE_INT8:
      return dim;
    case v1::DATA_TYPE_BINARY:
      return dim / 8;
    default:
      return 0;
  }
}

float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(half & 0x7FFFu) << 13;
  if ((half & 0x7C00u) == 0x7C00u) return std::bit_cast<float>(sign | 0x7F800000u | magnitude);
  // The biases differ by 112; a product instead of an addition also sets subnormals right.
  const float value = std::bit_cast<float>(magnitude) * 0x1p112f;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
}

absl::Status CheckBlock(const v1::EmbeddingBlock& block) {
  const int64_t row_bytes = RowBytes(block.dtype(), block.dim());
  if (row_bytes == 0 && block.rows() > 0) {
    return absl::DataLossError(absl::StrCat("rows of an unknown type or without width: dtype ",
                                            static_cast<int>(block.dtype()), ", dim ",
                                            block.dim()));
  }
  // By division: the product of two sizes that a server claims may not fit an int64.
  const auto bytes = static_cast<int64_t>(block.data().size());
  const bool fits = block.rows() == 0
                        ? bytes == 0
                        : bytes % row_bytes == 0 && bytes / row_bytes == int64_t{block.rows()};
  if (!fits || (block.dtype() == v1::DATA_TYPE_BINARY && block.dim() % 8 != 0)) {
    return absl::DataLossError(absl::StrCat(block.rows(), " rows of ", block.dim(),
                                            " values do not fit ", block.data().size(), " bytes"));
  }
  if (block.dtype() == v1::DATA_TYPE_INT8 &&
      block.scales_size() != static_cast<int64_t>(block.rows())) {
    return absl::DataLossError(
        absl::StrCat(block.scales_size(), " scales for ", block.rows(), " rows"));
  }
  return absl::OkStatus();
}

void DecodeRows(const v1::EmbeddingBlock& block, absl::Span<float> out) {
  const std::string& data = block.data();
  switch (block.dtype()) {
    case v1::DATA_TYPE_FP16:
      ForEachWord(data, out.size(), [&](size_t i, uint16_t word) { out[i] = HalfToFloat(word); });
      break;
    case v1::DATA_TYPE_BF16:
      ForEachWord(data, out.size(), [&](size_t i, uint16_t word) {
        out[i] = std::bit_cast<float>(static_cast<uint32_t>(word) << 16);
      });
      break;
    case v1::DATA_TYPE_INT8:
      DecodeInt8(block, out);
      break;
    case v1::DATA_TYPE_BINARY:
      DecodeBinary(data, out);
      break;
    default:
      if (!data.empty()) std::memcpy(out.data(), data.data(), data.size());
  }
}

}  // namespace longwave::client
