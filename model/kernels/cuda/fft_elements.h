#ifndef LONGWAVE_MODEL_KERNELS_CUDA_FFT_ELEMENTS_H_
#define LONGWAVE_MODEL_KERNELS_CUDA_FFT_ELEMENTS_H_

#include <cstdint>

// The FFT route's arithmetic, one number at a time: the same text for a kernel's thread and for a
// loop on the host, where it is tested without a GPU.
#ifdef __CUDACC__
#define LONGWAVE_HOST_DEVICE __host__ __device__
#else
#define LONGWAVE_HOST_DEVICE
#endif

namespace longwave::cuda {

// Two real channels in one complex number: columns 2p and 2p + 1 of [v | 1]. A transform with a
// real c keeps them apart. Laid out and aligned as cuFFT's and LibTorch's complex numbers are, so
// that a thread reads one in one load.
template <typename Real>
struct alignas(2 * sizeof(Real)) Pair {
  Real re;
  Real im;
};

// One group of channels: `features` of phi times `pairs` of columns, each a signal of `length`
// numbers, of which the first `tokens` are a sequence. Channel r * pairs + p is feature r, pair p.
struct FftExtents {
  int64_t features = 0;
  int64_t pairs = 0;
  int64_t tokens = 0;
  int64_t length = 0;
};

// phi(k)_r o [v | 1]: number i of a channel, zero beyond the sequence. keys: [features, tokens];
// values: [pairs, tokens].
template <typename Real>
LONGWAVE_HOST_DEVICE inline Pair<Real> FormElement(const Real* keys, const Pair<Real>* values,
                                                   const FftExtents& extents, int64_t channel,
                                                   int64_t i) {
  if (i >= extents.tokens) return {Real(0), Real(0)};
  const Real key = keys[channel / extents.pairs * extents.tokens + i];
  const Pair<Real> value = values[channel % extents.pairs * extents.tokens + i];
  return {key * value.re, key * value.im};
}

template <typename Real>
LONGWAVE_HOST_DEVICE inline Pair<Real> MultiplyElement(const Pair<Real>& a, const Pair<Real>& b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

// sum_r phi(q)_r (C (phi(k)_r o [v | 1])) over the group's features in their order, on top of
// `sum`. products: [features, pairs, length]; queries: [features, tokens].
template <typename Real>
LONGWAVE_HOST_DEVICE inline Pair<Real> ContractElement(const Pair<Real>* products,
                                                       const Real* queries,
                                                       const FftExtents& extents, int64_t pair,
                                                       int64_t i, Pair<Real> sum) {
  for (int64_t r = 0; r < extents.features; ++r) {
    const Real query = queries[r * extents.tokens + i];
    const Pair<Real> product = products[(r * extents.pairs + pair) * extents.length + i];
    sum.re += query * product.re;
    sum.im += query * product.im;
  }
  return sum;
}

// Column `column` of row i over the row's last one, column `columns - 1`. sums: [pairs, tokens].
template <typename Real>
LONGWAVE_HOST_DEVICE inline Real QuotientElement(const Pair<Real>* sums, int64_t tokens,
                                                 int64_t columns, int64_t column, int64_t i) {
  const auto number = [&](int64_t c) {
    const Pair<Real>& pair = sums[c / 2 * tokens + i];
    return c % 2 == 0 ? pair.re : pair.im;
  };
  return number(column) / number(columns - 1);
}

}  // namespace longwave::cuda

#endif  // LONGWAVE_MODEL_KERNELS_CUDA_FFT_ELEMENTS_H_
