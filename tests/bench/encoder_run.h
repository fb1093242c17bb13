#ifndef LONGWAVE_TESTS_BENCH_ENCODER_RUN_H_
#define LONGWAVE_TESTS_BENCH_ENCODER_RUN_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/api/encoder.h"
#include "model/encoder/transformer_encoder.h"
#include "tests/bench/bench_options.h"

namespace longwave {

// Seeded bytes.
std::vector<int32_t> BenchIds(int64_t tokens, uint64_t seed);

// Runs one job to its end: the rows of each sequence, `dim` values each.
absl::StatusOr<std::vector<std::vector<float>>> EncodeBatch(Encoder& encoder, EncoderBatch batch,
                                                            std::vector<OutputSpec> outputs);

// The output of `rows` (ascending, none twice) of the last layer.
OutputSpec RowsOutput(absl::Span<const int64_t> rows);

// Our encoder with the random model of these options, on options.threads threads of the CPU.
absl::StatusOr<std::unique_ptr<TransformerEncoder>> MakeBenchEncoder(const BenchOptions& options,
                                                                     FeatureKind features);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_ENCODER_RUN_H_
