#ifndef LONGWAVE_MODEL_ATTENTION_DEGENERATE_ROWS_H_
#define LONGWAVE_MODEL_ATTENTION_DEGENERATE_ROWS_H_

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/base/error.h"

namespace longwave {

// Rows of a signed feature map whose denominator cancelled. Thread-safe.
class DegenerateRows {
 public:
  // |denominator| below this part of the sum of its terms' magnitudes has at most four of a float's
  // 24 bits left.
  static constexpr double kThreshold = 0x1p-20;

  void Add(int64_t rows) { rows_.fetch_add(rows, std::memory_order_relaxed); }
  absl::Status status() const {
    const int64_t rows = rows_.load(std::memory_order_relaxed);
    if (rows == 0) return absl::OkStatus();
    return MakeError(ErrorReason::kDegenerateDenominator,
                     absl::StrCat("the attention weights of ", rows, " rows cancel"));
  }

 private:
  std::atomic<int64_t> rows_{0};
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_DEGENERATE_ROWS_H_
