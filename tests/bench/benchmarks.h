#ifndef LONGWAVE_TESTS_BENCH_BENCHMARKS_H_
#define LONGWAVE_TESTS_BENCH_BENCHMARKS_H_

#include "absl/status/status.h"
#include "tests/bench/bench_options.h"

namespace longwave {

// The attention core of one layer over one sequence, every exact route beside every peer. Fails,
// after printing, if a route's error is above its tolerance: a time with a wrong result is not
// reported as a success.
absl::Status RunAttentionBench(const BenchOptions& options);

// The rows of AttentionBars(), rooflines first. UNAVAILABLE if a measurement did not repeat: its
// rows are not printed, the others are.
absl::Status RunAttentionBars(const BenchOptions& options);

// Lengths x features x biases x routes beside the peers: one object a route and length, as far as
// one run stays below options.max_seconds.
absl::Status RunAttentionGrid(const BenchOptions& options);

// Prints route_costs.json with the CPU's part measured here, for model/attention: what the planner
// weighs routes by. On one thread.
absl::Status RunCalibration(const BenchOptions& options);

// The whole encoder beside the same encoder with exact softmax attention.
absl::Status RunEncoderBench(const BenchOptions& options);

// The rows of EncoderBars(), rooflines first.
absl::Status RunEncoderBars(const BenchOptions& options);
// One encoding of 1 048 576 tokens by the whole encoder of the bars, six layers.
absl::Status RunEncoderLong(const BenchOptions& options);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_BENCHMARKS_H_
