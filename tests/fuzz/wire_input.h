#ifndef LONGWAVE_TESTS_FUZZ_WIRE_INPUT_H_
#define LONGWAVE_TESTS_FUZZ_WIRE_INPUT_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "model/api/encoder.h"
#include "server/admission/encode_request.h"

// What harnesses of requests share: bytes as gRPC brings them, and what validation promises.
namespace longwave {

inline grpc::ByteBuffer ToBuffer(const uint8_t* data, size_t size) {
  // In two slices, as bytes from a wire may come.
  const grpc::Slice slices[] = {grpc::Slice(data, size / 2),
                                grpc::Slice(data + size / 2, size - size / 2)};
  return grpc::ByteBuffer(slices, 2);
}

// What validation promises to the scheduler and to the packing of rows.
inline void CheckValid(const ValidatedRequest& request, const Encoder& encoder) {
  int64_t rows = 0;
  int64_t tokens = 0;
  if (request.sequences.empty()) std::abort();
  for (const ValidatedSequence& sequence : request.sequences) {
    const auto used = static_cast<int64_t>(sequence.token_ids.size());
    if (used != sequence.tokens_used || used < 1 || used > encoder.Info().max_tokens) std::abort();
    if (sequence.first_kept < 0 || sequence.first_kept + used > sequence.tokens_in) std::abort();
    for (const int32_t id : sequence.token_ids) {
      if (id < 0 || id >= encoder.Info().vocab_size) std::abort();
    }
    rows += sequence.output.RowCount(used);
    tokens += used;
  }
  if (rows != request.total_rows || tokens != request.total_tokens) std::abort();
}

}  // namespace longwave

#endif  // LONGWAVE_TESTS_FUZZ_WIRE_INPUT_H_
