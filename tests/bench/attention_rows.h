#ifndef LONGWAVE_TESTS_BENCH_ATTENTION_ROWS_H_
#define LONGWAVE_TESTS_BENCH_ATTENTION_ROWS_H_

#include "tests/bench/suite.h"

namespace longwave {

// Each measures and reports the bars of its name; what cannot be measured is refused by name.

// core_vs_*, core_linear*: T5 buckets of distance 128, d = m = 64.
void RunCoreRows(Suite& suite);
// tiles_*: a free table, n = 1024.
void RunTilesRows(Suite& suite);
// log_buckets_vs_clipped_64k.
void RunLogBucketsRow(Suite& suite);
// fft_*.
void RunFftRows(Suite& suite);
// interpolation_*.
void RunInterpolationRows(Suite& suite);
// core_ragged.
void RunRaggedRow(Suite& suite);

// Shape of the core rows.
BenchOptions CoreOptions(const Suite& suite, int64_t n, int64_t heads);
// A result over `load`, whose `out` holds our last run: shape and error filled in.
BarResult ResultOf(Suite& suite, absl::string_view bar, const Workload& load, double value,
                   std::vector<Samples> samples);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_ATTENTION_ROWS_H_
