#ifndef LONGWAVE_TESTS_BENCH_DOUBLE_ENCODER_H_
#define LONGWAVE_TESTS_BENCH_DOUBLE_ENCODER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "model/weights/model_config.h"
#include "model/weights/model_folder.h"

namespace longwave {

// The last layer's states (after the final norm) of `rows` of one sequence, in double: [rows, D].
// For the benchmark's own shape only: pre-norm, GELU, no positions, no n-grams, kPrf with qk_norm
// and scale 1, not causal, c constant beyond 128 on each side. In O(n): a band of blocks and sums
// over whole blocks beyond it, all in double, in every layer but the last, whose rows are each
// summed over all keys. tests/unit/bench compares it with model/reference. Threads:
// at::set_num_threads.
//
// Memory: 24 bytes a token and channel.
at::Tensor DoubleStates(const ModelConfig& config, const WeightMap& weights,
                        const std::vector<int32_t>& ids, absl::Span<const int64_t> rows);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_DOUBLE_ENCODER_H_
