#ifndef LONGWAVE_MODEL_KERNELS_CPU_FFT_KERNELS_H_
#define LONGWAVE_MODEL_KERNELS_CPU_FFT_KERNELS_H_

#include <cstddef>
#include <cstdint>

// Internal to ToeplitzTransform: its inner loops for one instruction set.
namespace longwave::cpu {

// A complex vector as two real ones. They begin on 64 bytes and have whole vectors.
template <typename T>
struct ComplexSpan {
  T* re = nullptr;
  T* im = nullptr;

  operator ComplexSpan<const T>() const { return {re, im}; }
};

// A transform of radix * block elements and its twiddle factors, in the order of their use; V is
// the number of lanes, and a factor is V real parts followed by V imaginary ones.
//   outermost   for each V of `block` positions j: w^(q j), q = 1 .. radix - 1
//   levels      sizes S = block, block / 4, ... > 4 V: for each V of S / 4 positions: w^(q j),
//               q = 1 .. 3, w that of S
//   split       if the last size is 4 V: w^j of 4 V, j < 2 V
//   vectors     sizes S = 2 V, V, ..., 4: w^j of S, as lanes lie at that level; for floats the last
//               of them once more as they lie on the way back
template <typename T>
struct FftTables {
  int radix = 0;      // 3, 4, 5 or 7
  int64_t block = 0;  // a power of two, at least 64
  const T* twiddles = nullptr;
};

template <typename T>
struct FftOperands {
  const T* keys = nullptr;     // phi(k) of one feature
  const T* queries = nullptr;  // phi(q) of that feature
  ComplexSpan<const T> values;
  ComplexSpan<const T> kernel;  // in the order of the forward transform
  ComplexSpan<T> work;          // overwritten
  ComplexSpan<T> sums;
};

template <typename T>
struct FftKernels {
  int lanes = 0;
  // sums += queries o F^-1(kernel o F(keys o values)), F^-1 without its 1 / length.
  void (*accumulate)(const FftTables<T>& tables, const FftOperands<T>& operands) = nullptr;
  // x = F(x), decimated in frequency.
  void (*forward)(const FftTables<T>& tables, ComplexSpan<T> x) = nullptr;
  // The innermost level alone: the transform of 2 V elements, which decides their order.
  void (*forward_vectors)(const T* twiddles, ComplexSpan<T> x) = nullptr;
  // target = factors o source.
  void (*multiply)(int64_t count, ComplexSpan<const T> factors, ComplexSpan<const T> source,
                   ComplexSpan<T> target) = nullptr;
  // target += conjugate(factors) o source.
  void (*add_conjugate_product)(int64_t count, ComplexSpan<const T> factors,
                                ComplexSpan<const T> source, ComplexSpan<T> target) = nullptr;
};

struct AllFftKernels {
  FftKernels<float> narrow;
  FftKernels<double> wide;
};

// Of the instruction set at this index of Highway's dispatch tables.
AllFftKernels FftKernelsAt(size_t index);

}  // namespace longwave::cpu

#endif  // LONGWAVE_MODEL_KERNELS_CPU_FFT_KERNELS_H_
