#ifndef LONGWAVE_TESTS_BENCH_RAGGED_H_
#define LONGWAVE_TESTS_BENCH_RAGGED_H_

#include <cstdint>
#include <vector>

namespace longwave {

// Seeded lengths whose logarithms are uniform between those of `shortest` and `longest`, until they
// add up to `total` (the last one is cut). Precondition: 1 <= shortest <= longest <= total.
std::vector<int64_t> LogUniformLengths(int64_t total, int64_t shortest, int64_t longest,
                                       uint64_t seed);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_RAGGED_H_
