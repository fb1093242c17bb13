#ifndef LONGWAVE_TESTS_BENCH_BENCHMARKS_H_
#define LONGWAVE_TESTS_BENCH_BENCHMARKS_H_

#include "absl/status/status.h"
#include "tests/bench/bench_options.h"

namespace longwave {

// The attention core of one layer over one sequence, every exact route beside every peer. Fails,
// after printing, if a route's error is above its tolerance: a time with a wrong result is not
// reported as a success.
absl::Status RunAttentionBench(const BenchOptions& options);

// The whole encoder beside the same encoder with exact softmax attention.
absl::Status RunEncoderBench(const BenchOptions& options);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_BENCHMARKS_H_
