#ifndef LONGWAVE_MODEL_KERNELS_CUDA_FFT_KERNELS_H_
#define LONGWAVE_MODEL_KERNELS_CUDA_FFT_KERNELS_H_

#include <cstdint>

#include "model/kernels/cuda/fft_elements.h"
#include "model/kernels/cuda/shared_workspace.h"

// What stands around cuFFT's transforms in the FFT route: one launch each, bound by the device's
// memory. All pointers are to the current device's memory, contiguous as stated; work is enqueued
// on `stream`; a launch that fails throws. Instances: float and double. Which thread computes which
// number has no influence on it, so results are the same whatever the card.
namespace longwave::cuda {

// products [features, pairs, length] = phi(k)_r o [v | 1], zero-padded. Reads keys [features,
// tokens] and values [pairs, tokens].
template <typename Real>
void LaunchFormProducts(const Real* keys, const Pair<Real>* values, const FftExtents& extents,
                        Pair<Real>* products, Stream stream);

// products [channels, length] *= spectrum [length], in place.
template <typename Real>
void LaunchMultiplySpectrum(const Pair<Real>* spectrum, int64_t channels, int64_t length,
                            Pair<Real>* products, Stream stream);

// sums [pairs, tokens] += sum over r, in order, of queries [features, tokens] o products
// [features, pairs, length].
template <typename Real>
void LaunchContract(const Pair<Real>* products, const Real* queries, const FftExtents& extents,
                    Pair<Real>* sums, Stream stream);

// out[i * row_stride + c] = column c over the last column, c < columns - 1. sums: [pairs, tokens].
template <typename Real>
void LaunchDivide(const Pair<Real>* sums, int64_t tokens, int64_t columns, int64_t row_stride,
                  float* out, Stream stream);

}  // namespace longwave::cuda

#endif  // LONGWAVE_MODEL_KERNELS_CUDA_FFT_KERNELS_H_
