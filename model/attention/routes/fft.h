#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_H_

#include <atomic>
#include <cstdint>
#include <memory>

#include "model/attention/attention.h"
#include "model/attention/layer_state.h"
#include "model/attention/routes/fft_cache.h"
#include "model/kernels/cpu/kernels.h"

namespace longwave {

// Algorithm 1 of arXiv 2106.12566 on the CPU: for each feature r, C (phi(k)_r o [v | 1]) by
// transforms, times phi(q)_r, summed over r in their order; numerator and denominator are columns
// of one product. O(n log n) for every bias. A piece owns two columns and runs through features, in
// memory that stays in the caches (ToeplitzTransform); n x m x d numbers are never there.
//
// Transforms are accurate relative to the largest row of C. The caller chooses fp32 or fp64 by
// ToeplitzWeights::RowSumRatio; beyond that, rows whose denominator D_i is not finite, not positive
// or below 100 u max D (u = 2^-24, 2^-53) are computed once more without transforms, in double and
// O(n) each, and counted. If no denominator of a head is finite its rows are left as they are.
//
// Phases, for each group of heads: c, kernels, [v | 1], then for groups of features phi and
// products; denominators, quotients, flagged rows. Memory is bounded by the groups.
//
// Of one layer. Precondition of all calls: positive features, tensors on the CPU. Thread-safe.
class CpuFft {
 public:
  // What D_i is compared with, in units of u times the largest: the measured relative error is 0.03
  // to 0.4 u max D / D_i.
  static constexpr double kLeastDenominator = 100;

  // Both outlive this, and this outlives its passes.
  CpuFft(const LayerState* layer, const cpu::Kernels* kernels) : layer_(layer), cache_(kernels) {}

  std::unique_ptr<AttentionPass> Begin(RouteContext context) const;

  // Rows that were computed once more, since this was made.
  int64_t rows_recomputed() const { return rows_recomputed_.load(std::memory_order_relaxed); }

 private:
  const LayerState* const layer_;
  mutable FftCache cache_;
  mutable std::atomic<int64_t> rows_recomputed_{0};
};

// Of `heads` heads of the shape.
AttentionCost FftCost(const AttentionShape& shape, int64_t heads, int64_t n, at::ScalarType type);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_H_
