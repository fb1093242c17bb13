#ifndef LONGWAVE_TESTS_BENCH_MEMORY_PEAK_H_
#define LONGWAVE_TESTS_BENCH_MEMORY_PEAK_H_

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"

namespace longwave {

// By how much the process's resident memory grew at most while `body` ran, in bytes. Freed memory
// is given back to the system before. Linux only; other threads' memory counts too.
absl::StatusOr<int64_t> PeakGrowth(const std::function<void()>& body);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_MEMORY_PEAK_H_
