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

// How the left operand lies: row r of the product reads a[r * a_stride + k], or a[k * a_stride +
// r].
enum class Left { kRows, kTransposed };

// One panel: for r < kRows, calls out.Row(first_row + r, v) with
//   v[j] = sum over k < depth of a[r * a_stride + k] * b[k * b_stride + j * b_vector_stride +
//   lane].
template <int kRows, int kVectors, Left kLeft, class Out>
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
      const Vector x = hn::Set(d, kLeft == Left::kRows ? a[r * a_stride + k] : a[k * a_stride + r]);
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) sum[r][j] = hn::MulAdd(x, column[j], sum[r][j]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) out.Row(first_row + r, sum[r]);
}

// All rows, in panels as high as the registers allow and the rest in lower ones. A row's bits do
// not depend on the height of its panel.
template <int kVectors, Left kLeft = Left::kRows, class Out>
HWY_INLINE void Product(int64_t rows, const float* a, int64_t a_stride, const float* b,
                        int64_t b_stride, int64_t b_vector_stride, int64_t depth, const Out& out) {
  constexpr int kHigh = PanelRows(kVectors);
  const int64_t row_stride = kLeft == Left::kRows ? a_stride : 1;
  int64_t r = 0;
  for (; r + kHigh <= rows; r += kHigh) {
    ProductPanel<kHigh, kVectors, kLeft>(a + r * row_stride, a_stride, b, b_stride, b_vector_stride,
                                         depth, r, out);
  }
  for (; kHigh > 4 && r + 4 <= rows; r += 4) {
    ProductPanel<4, kVectors, kLeft>(a + r * row_stride, a_stride, b, b_stride, b_vector_stride,
                                     depth, r, out);
  }
  for (; r < rows; ++r) {
    ProductPanel<1, kVectors, kLeft>(a + r * row_stride, a_stride, b, b_stride, b_vector_stride,
                                     depth, r, out);
  }
}

// Groups of keys that one panel of scores spans, and groups of columns that one panel of sums does.
constexpr int kPanelGroups = kLanes == 16 ? 3 : 1;
constexpr int kPanelColumns = kLanes == 16 ? 4 : 1;

// Keys whose scores are formed before they are multiplied with values.
constexpr int64_t kTileGroups = 3;
constexpr int64_t kTileKeys = kTileGroups * 16;

// sums[r] += v, or sums[r] += factors[r] v.
template <int kVectors, bool kFactors>
struct SumOut {
  float* sums;
  int64_t stride;
  const float* factors;
  HWY_INLINE void Row(int64_t r, const Vector (&v)[kVectors]) const {
    const Floats d;
    float* const row = sums + r * stride;
    const Vector factor = kFactors ? hn::Set(d, factors[r]) : hn::Zero(d);
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) {
      const Vector old = hn::Load(d, row + j * kLanes);
      hn::Store(kFactors ? hn::MulAdd(v[j], factor, old) : hn::Add(v[j], old), d, row + j * kLanes);
    }
  }
};

// Calls Run<vectors>(first column) for strips of columns as wide as the registers allow.
template <class Body>
HWY_INLINE void ForColumnStrips(int64_t columns, const Body& body) {
  int64_t c = 0;
  if constexpr (kPanelColumns == 4) {
    for (; c + 64 <= columns; c += 64) body.template Run<4>(c);
    if (c + 48 <= columns) {
      body.template Run<3>(c);
      c += 48;
    }
    if (c + 32 <= columns) {
      body.template Run<2>(c);
      c += 32;
    }
  }
  for (; c < columns; c += 16) body.template Run<kGroupVectors>(c);
}

// sums[r][c] += factors[r] * sum over k of a[r][k] b[k][c]; rows of b and sums are `columns` apart.
template <bool kFactors, Left kLeft = Left::kRows>
struct SumProduct {
  int64_t rows;
  const float* a;
  int64_t a_stride;
  const float* b;
  int64_t columns;
  int64_t depth;
  const float* factors;
  float* sums;
  template <int kVectors>
  HWY_INLINE void Run(int64_t c) const {
    Product<kVectors, kLeft>(rows, a, a_stride, b + c, columns, kLanes, depth,
                             SumOut<kVectors, kFactors>{sums + c, columns, factors});
  }
};

}  // namespace longwave::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // LONGWAVE_MODEL_KERNELS_CPU_PRODUCT_INL_H_
