#ifndef LONGWAVE_MODEL_ENCODER_WORD_ROWS_H_
#define LONGWAVE_MODEL_ENCODER_WORD_ROWS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/api/encoder.h"

namespace longwave {

// The keys of a vocabulary, ascending, from the weight `embeddings.word_keys`: [count,
// WordConfig::kKeyBytes], row-major. INVALID_ARGUMENT: a number that is no byte, or keys that do
// not ascend.
absl::StatusOr<std::vector<uint32_t>> UnpackWordKeys(absl::Span<const float> stored);

// Which row of the table the word that ends at a token has (WordConfig says how), for the rows
// `rows` of a flat batch: found[row - rows.begin] is its key's place among `keys`, or -1 where no
// word ends or it is not among them. A word never reaches into another sequence. Rows behind the
// last sequence (a tile's padding) get -1.
//
// ids: [at least offsets.back()], offsets: as EncoderBatch's. Preconditions: keys ascend,
// 0 <= rows.begin <= rows.end, found.size() = rows.end - rows.begin.
void FillWordRows(absl::Span<const uint32_t> keys, absl::Span<const int32_t> ids,
                  absl::Span<const int64_t> offsets, TokenRange rows, absl::Span<int32_t> found);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_WORD_ROWS_H_
