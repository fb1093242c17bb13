#ifndef LONGWAVE_CLIENT_DECODE_H_
#define LONGWAVE_CLIENT_DECODE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "longwave/v1/encode.pb.h"

namespace longwave::client {

// Bytes of one row of `dim` values on the wire, int8 scales not counted; 0 for an unknown type.
int64_t RowBytes(v1::DataType dtype, int64_t dim);

// DATA_LOSS if a block's type, sizes and scales do not fit each other. To be asked before memory is
// taken for rows x dim floats.
absl::Status CheckBlock(const v1::EmbeddingBlock& block);

// Writes a block's rows x dim values as floats, row-major. FP32, FP16 and BF16 are exact; INT8 is
// value x scale; BINARY is +1 for a set bit and -1 for a clear one, so that dot products make
// sense. Preconditions: CheckBlock(block) is OK; out.size() == rows x dim.
void DecodeRows(const v1::EmbeddingBlock& block, absl::Span<float> out);

// One IEEE half-precision number.
float HalfToFloat(uint16_t half);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_DECODE_H_
