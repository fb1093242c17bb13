#include <cuda_runtime.h>

#include <algorithm>

#include "model/kernels/cuda/check.h"
#include "model/kernels/cuda/fft_kernels.h"

namespace longwave::cuda {
namespace {

constexpr int kThreads = 256;
// Limits of a grid: 2^31 - 1 blocks along x, 65535 along y. Kernels step over both.
constexpr int64_t kMaxBlocksX = int64_t{1} << 30;
constexpr int64_t kMaxBlocksY = 65535;

// Threads along x take neighbouring numbers, so that memory is read in whole lines.
dim3 Grid(int64_t numbers, int64_t rows) {
  const int64_t x = std::clamp<int64_t>((numbers + kThreads - 1) / kThreads, 1, kMaxBlocksX);
  const int64_t y = std::clamp<int64_t>(rows, 1, kMaxBlocksY);
  return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y));
}

__device__ int64_t FirstNumber() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ int64_t NumberStep() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

template <typename Real>
__global__ void FormProducts(const Real* keys, const Pair<Real>* values, FftExtents extents,
                             Pair<Real>* products) {
  const int64_t channels = extents.features * extents.pairs;
  for (int64_t channel = blockIdx.y; channel < channels; channel += gridDim.y) {
    for (int64_t i = FirstNumber(); i < extents.length; i += NumberStep()) {
      products[channel * extents.length + i] = FormElement(keys, values, extents, channel, i);
    }
  }
}

template <typename Real>
__global__ void MultiplySpectrum(const Pair<Real>* spectrum, int64_t channels, int64_t length,
                                 Pair<Real>* products) {
  for (int64_t channel = blockIdx.y; channel < channels; channel += gridDim.y) {
    for (int64_t i = FirstNumber(); i < length; i += NumberStep()) {
      Pair<Real>& product = products[channel * length + i];
      product = MultiplyElement(product, spectrum[i]);
    }
  }
}

template <typename Real>
__global__ void Contract(const Pair<Real>* products, const Real* queries, FftExtents extents,
                         Pair<Real>* sums) {
  for (int64_t pair = blockIdx.y; pair < extents.pairs; pair += gridDim.y) {
    for (int64_t i = FirstNumber(); i < extents.tokens; i += NumberStep()) {
      Pair<Real>& sum = sums[pair * extents.tokens + i];
      sum = ContractElement(products, queries, extents, pair, i, sum);
    }
  }
}

// Threads along x take rows: reads of `sums` are whole lines, writes are not, and the output is
// small beside all that was read for it.
template <typename Real>
__global__ void Divide(const Pair<Real>* sums, int64_t tokens, int64_t columns, int64_t row_stride,
                       float* out) {
  for (int64_t column = blockIdx.y; column < columns - 1; column += gridDim.y) {
    for (int64_t i = FirstNumber(); i < tokens; i += NumberStep()) {
      out[i * row_stride + column] =
          static_cast<float>(QuotientElement(sums, tokens, columns, column, i));
    }
  }
}

}  // namespace

template <typename Real>
void LaunchFormProducts(const Real* keys, const Pair<Real>* values, const FftExtents& extents,
                        Pair<Real>* products, Stream stream) {
  const dim3 grid = Grid(extents.length, extents.features * extents.pairs);
  FormProducts<Real><<<grid, kThreads, 0, stream>>>(keys, values, extents, products);
  Check(cudaGetLastError(), "launch of FormProducts");
}

template <typename Real>
void LaunchMultiplySpectrum(const Pair<Real>* spectrum, int64_t channels, int64_t length,
                            Pair<Real>* products, Stream stream) {
  MultiplySpectrum<Real>
      <<<Grid(length, channels), kThreads, 0, stream>>>(spectrum, channels, length, products);
  Check(cudaGetLastError(), "launch of MultiplySpectrum");
}

template <typename Real>
void LaunchContract(const Pair<Real>* products, const Real* queries, const FftExtents& extents,
                    Pair<Real>* sums, Stream stream) {
  const dim3 grid = Grid(extents.tokens, extents.pairs);
  Contract<Real><<<grid, kThreads, 0, stream>>>(products, queries, extents, sums);
  Check(cudaGetLastError(), "launch of Contract");
}

template <typename Real>
void LaunchDivide(const Pair<Real>* sums, int64_t tokens, int64_t columns, int64_t row_stride,
                  float* out, Stream stream) {
  Divide<Real>
      <<<Grid(tokens, columns - 1), kThreads, 0, stream>>>(sums, tokens, columns, row_stride, out);
  Check(cudaGetLastError(), "launch of Divide");
}

#define LONGWAVE_INSTANTIATE(Real)                                                                 \
  template void LaunchFormProducts(const Real*, const Pair<Real>*, const FftExtents&, Pair<Real>*, \
                                   Stream);                                                        \
  template void LaunchMultiplySpectrum(const Pair<Real>*, int64_t, int64_t, Pair<Real>*, Stream);  \
  template void LaunchContract(const Pair<Real>*, const Real*, const FftExtents&, Pair<Real>*,     \
                               Stream);                                                            \
  template void LaunchDivide(const Pair<Real>*, int64_t, int64_t, int64_t, float*, Stream);
LONGWAVE_INSTANTIATE(float)
LONGWAVE_INSTANTIATE(double)
#undef LONGWAVE_INSTANTIATE

}  // namespace longwave::cuda
