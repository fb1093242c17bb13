#ifndef LONGWAVE_MODEL_ENCODER_NGRAM_BUCKETS_H_
#define LONGWAVE_MODEL_ENCODER_NGRAM_BUCKETS_H_

#include <cstdint>

#include "absl/types/span.h"
#include "model/api/encoder.h"
#include "model/weights/model_config.h"

namespace longwave {

// Which row of the table an n-gram's embedding is (NgramConfig says how), for the rows `rows` of a
// flat batch: buckets[(row - rows.begin) * sizes + k] is that of the n-gram of sizes[k] ids that
// ends at the row, or -1 where the row's sequence has fewer ids up to it. An n-gram never reaches
// into the sequence before. Rows behind the last sequence (a tile's padding) get -1.
//
// ids: [at least offsets.back()], offsets: as EncoderBatch's. Preconditions: `config` has sizes,
// 0 <= rows.begin <= rows.end, buckets.size() = (rows.end - rows.begin) * sizes.
void FillNgramBuckets(const NgramConfig& config, absl::Span<const int32_t> ids,
                      absl::Span<const int64_t> offsets, TokenRange rows,
                      absl::Span<int32_t> buckets);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_NGRAM_BUCKETS_H_
