#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_FUSED_ROWS_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_FUSED_ROWS_H_

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/base/error.h"
#include "model/kernels/cpu/kernels.h"

namespace longwave {

// One head of [tokens, all heads, head_dim], from row `first` on, as the kernels read it.
inline cpu::StridedRows HeadRows(const at::Tensor& rows, int64_t head, int64_t first) {
  return {rows.const_data_ptr<float>() + first * rows.stride(0) + head * rows.stride(1),
          rows.stride(0)};
}

inline float* HeadOutput(const at::Tensor& rows, int64_t head, int64_t first) {
  return rows.data_ptr<float>() + first * rows.stride(0) + head * rows.stride(1);
}

// Writes the denominators of rows from `first` on: the sums of `partial`, [rows][kKeyGroup].
inline void StoreDenominators(const float* partial, int64_t head, int64_t first, int64_t count,
                              const at::Tensor& denominators) {
  if (!denominators.defined()) return;
  float* const out = denominators.data_ptr<float>() + head * denominators.stride(1);
  for (int64_t r = 0; r < count; ++r) {
    float sum = 0;
    for (int64_t b = 0; b < cpu::kKeyGroup; ++b) sum += partial[r * cpu::kKeyGroup + b];
    out[(first + r) * denominators.stride(0)] = sum;
  }
}

// Asks for rows that are read next. Those of one head lie a whole batch row apart, on pages of
// their own, where no hardware looks ahead.
inline void PrefetchRows(cpu::StridedRows rows, int64_t count, int64_t head_dim) {
  constexpr int64_t kLineFloats = 16;
  for (int64_t r = 0; r < count; ++r) {
    const float* const row = rows.data + r * rows.stride;
    for (int64_t c = 0; c < head_dim; c += kLineFloats) __builtin_prefetch(row + c);
  }
}

// Hands out parts of a thread's scratch memory, each on a 64-byte boundary.
class ScratchParts {
 public:
  explicit ScratchParts(float* memory) : next_(memory) {}
  float* Take(int64_t floats) {
    float* const part = next_;
    next_ += cpu::RoundUp(floats, cpu::kKeyGroup);
    return part;
  }

 private:
  float* next_;
};

// Rows without a result: an input that is not finite, or a denominator that fell out of fp32's
// range. They end the sequence, never reach a caller. Thread-safe.
class BadRows {
 public:
  void Add(int64_t rows) {
    if (rows > 0) rows_.fetch_add(rows, std::memory_order_relaxed);
  }
  absl::Status status() const {
    const int64_t rows = rows_.load(std::memory_order_relaxed);
    if (rows == 0) return absl::OkStatus();
    return MakeError(ErrorReason::kNonFinite,
                     absl::StrCat("the attention of ", rows,
                                  " rows is not a finite number: its input is not, or is too "
                                  "large"));
  }

 private:
  std::atomic<int64_t> rows_{0};
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_FUSED_ROWS_H_
