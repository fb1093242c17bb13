// The register-blocked product that all kernels share. Included once per instruction set by
// Highway's foreach_target, hence the toggled guard.
#if defined(LONGWAVE_MODEL_KERNELS_CPU_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGWAVE_MODEL_KERNELS_CPU_PRODUCT_INL_H_
#undef LONGWAVE_MODEL_KERNELS_CPU_PRODUCT_INL_H_
#else
#define LONGWAVE_MODEL_KERNELS_CPU_PRODUCT_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace longwave::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;
using Vector = hn::Vec<Floats>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(Floats()));
// Vectors of a group of 16 keys or columns.
constexpr int kGroupVectors = 16 / kLanes;
// Registers decide how many accumulators fit beside the operands: 24 of 32, 12 of 16.
constexpr bool kManyRegisters = HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64;
constexpr int kAccumulators = kManyRegisters ? 24 : 12;

// Rows of a panel that is `vectors` wide: at most 12, a divisor of kRowBlock where there are enough
// registers for one.
constexpr int PanelRows(int vectors) {
  for (const int rows : {12, 8, 6, 4, 3, 2}) {
    if (rows * vectors <= kAccumulators) return rows;
  }
  return 1;
}

// One panel: for r < kRows, calls out.Row(first_row + r, v) with
//   v[j] = sum over k < depth of a[r * a_stride + k] * b[k * b_stride + j * b_vector_stride +
//   lane].
template <int kRows, int kVectors, class Out>
HWY_INLINE void ProductPanel(const float* HWY_RESTRICT a, int64_t a_stride,
                             const float* HWY_RESTRICT b, int64_t b_stride, int64_t b_vector_stride,
                             int64_t depth, int64_t first_row, const Out& out) {
  const Floats d;
  Vector sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) sum[r][j] = hn::Zero(d);
  }
  for (int64_t k = 0; k < depth; ++k) {
    Vector column[kVectors];
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) {
      column[j] = hn::Load(d, b + k * b_stride + j * b_vector_stride);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Vector x = hn::Set(d, a[r * a_stride + k]);
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) sum[r][j] = hn::MulAdd(x, column[j], sum[r][j]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) out.Row(first_row + r, sum[r]);
}

// All rows, in panels as high as the registers allow and the rest in lower ones. A row's bits do
// not depend on the height of its panel.
template <int kVectors, class Out>
HWY_INLINE void Product(int64_t rows, const float* a, int64_t a_stride, const float* b,
                        int64_t b_stride, int64_t b_vector_stride, int64_t depth, const Out& out) {
  constexpr int kHigh = PanelRows(kVectors);
  int64_t r = 0;
  for (; r + kHigh <= rows; r += kHigh) {
    ProductPanel<kHigh, kVectors>(a + r * a_stride, a_stride, b, b_stride, b_vector_stride, depth,
                                  r, out);
  }
  for (; kHigh > 4 && r + 4 <= rows; r += 4) {
    ProductPanel<4, kVectors>(a + r * a_stride, a_stride, b, b_stride, b_vector_stride, depth, r,
                              out);
  }
  for (; r < rows; ++r) {
    ProductPanel<1, kVectors>(a + r * a_stride, a_stride, b, b_stride, b_vector_stride, depth, r,
                              out);
  }
}

}  // namespace longwave::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // LONGWAVE_MODEL_KERNELS_CPU_PRODUCT_INL_H_
