#ifndef LONGWAVE_SERVER_RPC_ROW_PACKER_H_
#define LONGWAVE_SERVER_RPC_ROW_PACKER_H_

#include <cstdint>

#include "absl/types/span.h"
#include "server/admission/encode_request.h"

namespace longwave {

// Bytes of the values of one row on the wire. Precondition: kBinary has dim % 8 == 0.
int64_t PackedRowBytes(OutputType type, int64_t dim);
// The same with the row's scale, if the type has scales: what a row takes of a message.
int64_t WireRowBytes(OutputType type, int64_t dim);

// Writes one row little-endian to `out` (PackedRowBytes of it) and returns its scale: kInt8's
// largest magnitude / 127 (1 for the zero row), 1 for the other types. fp16 and bf16 round to
// nearest even, what is too large for fp16 becomes infinity; kBinary sets the bit of values > 0,
// most significant bit first. Precondition: the values are finite.
float PackRow(OutputType type, absl::Span<const float> row, char* out);

// The nearest IEEE half-precision number, ties to even.
uint16_t FloatToHalf(float value);
// The nearest bfloat16 number, ties to even.
uint16_t FloatToBfloat16(float value);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_ROW_PACKER_H_
