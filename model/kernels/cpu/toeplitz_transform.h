#ifndef LONGWAVE_MODEL_KERNELS_CPU_TOEPLITZ_TRANSFORM_H_
#define LONGWAVE_MODEL_KERNELS_CPU_TOEPLITZ_TRANSFORM_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "model/kernels/cpu/fft_kernels.h"
#include "model/kernels/cpu/kernels.h"

namespace longwave::cpu {

// The smallest length >= `tokens` that a ToeplitzTransform has: {4, 5, 6, 7} * 2^k, at least 192.
int64_t TransformLength(int64_t tokens);

struct AlignedFree {
  void operator()(void* memory) const;
};
// Uninitialised, on 64 bytes.
template <typename T>
using AlignedArray = std::unique_ptr<T[], AlignedFree>;
template <typename T>
AlignedArray<T> AllocateAligned(int64_t count);

// Products with n x n Toeplitz matrices through transforms of a length L >= n, for float and
// double.
//
// Of y_i = sum_j h(i - j) x_j, padded to 2 L, the even frequencies are the product with a circulant
// matrix of size L and the odd ones that with a skew-circulant, which is a circulant between two
// modulations, w = exp(-i pi / L):
//
//     y = (C_even x + w^-i C_odd (w^j x)) / 2
//
// so that no zeros are transformed and half the memory is touched at a time. A real matrix acts on
// real and imaginary parts apart: two columns share a transform and need no untangling. A forward
// transform leaves its output in the order in which decimation in frequency yields it, kernels are
// stored in that order and the inverse starts from it: nothing is ever permuted. The product with
// phi(k) is part of the first level, that with the kernel of the innermost, that with phi(q) of the
// last. Levels run depth first: all but the outermost one or two work in the first-level cache.
//
// Immutable; thread-safe. Bits depend on the instruction set alone.
template <typename T>
class ToeplitzTransform {
 public:
  // The two matrices that a Toeplitz matrix is split into.
  enum class Half { kEven, kOdd };

  // Of a length that TransformLength returns. `kernels` outlives the transform.
  ToeplitzTransform(const Kernels* kernels, int64_t length);

  int64_t length() const { return length_; }  // L
  // Memory held, in bytes: 4 L numbers and L indices.
  int64_t bytes() const;

  // One half's kernel of the matrix C_ij = c(j - i), from c(o) for o = 1 - n .. n - 1, n <= L.
  // Computed in double, by `exact` of the same length and instruction set.
  void MakeKernel(Half half, absl::Span<const double> c, const ToeplitzTransform<double>& exact,
                  ComplexSpan<T> target) const;

  // sums_i += queries_i (C (keys o values))_i, C the circulant of `operands.kernel`. All spans are
  // length() long; values and keys are finite, and values zero from the last token on.
  void Accumulate(const FftOperands<T>& operands) const;
  // target_j = w^j source_j: the values of the odd half.
  void Modulate(ComplexSpan<const T> source, ComplexSpan<T> target) const;
  // sums_i += w^-i odd_sums_i.
  void AddDemodulated(ComplexSpan<const T> odd_sums, ComplexSpan<T> sums) const;

 private:
  template <typename U>
  friend class ToeplitzTransform;

  void MakeTwiddles();
  void MakeOrder();
  FftTables<T> tables() const { return {radix_, length_ / radix_, twiddles_.get()}; }
  ComplexSpan<const T> modulation() const {
    return {modulation_.get(), modulation_.get() + length_};
  }

  FftKernels<T> kernels_;
  int64_t length_;
  int radix_;
  int64_t twiddle_count_ = 0;
  AlignedArray<T> twiddles_;
  AlignedArray<T> modulation_;  // w^j: re, then im
  // The frequency at each position of a forward transform's output.
  std::vector<int32_t> order_;
};

}  // namespace longwave::cpu

#endif  // LONGWAVE_MODEL_KERNELS_CPU_TOEPLITZ_TRANSFORM_H_
