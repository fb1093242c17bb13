#ifndef LONGWAVE_TESTS_BENCH_ROOFLINES_H_
#define LONGWAVE_TESTS_BENCH_ROOFLINES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/bench/measure.h"

namespace longwave {

// What this machine can do on the threads of the run.
struct Rooflines {
  double sgemm = 0;       // operations a second of a 2048^3 product by at::mm: the bars' floors
  double sgemm_best = 0;  // the same by the fastest library at hand
  std::string sgemm_best_library;
  double copy = 0;  // bytes a second, read and written
  double exp = 0;   // exponentials a second
};

inline constexpr int64_t kSgemmSize = 2048;
inline constexpr double kSgemmFlops = 2.0 * kSgemmSize * kSgemmSize * kSgemmSize;

// A 2048^3 product by at::mm, named "sgemm"; and by the kernels that the encoder's dense layers use
// on weights packed once, named "sgemm_packed". On `threads` threads of LibTorch.
Contender SgemmContender(int threads);
Contender PackedSgemmContender(int threads);

absl::StatusOr<Rooflines> MeasureRooflines(int threads, const MeasureOptions& options,
                                           const Clock& clock);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_ROOFLINES_H_
