#include "tests/unit/attention/host_fft_device.h"

#include <ATen/ATen.h>

#include "model/kernels/cuda/fft_elements.h"

namespace longwave {
namespace {

template <typename Real>
cuda::Pair<Real>* Pairs(const at::Tensor& complex) {
  TORCH_CHECK(complex.is_contiguous());
  return reinterpret_cast<cuda::Pair<Real>*>(complex.data_ptr<c10::complex<Real>>());
}

template <typename Real>
const Real* Reals(const at::Tensor& real) {
  TORCH_CHECK(real.is_contiguous());
  return real.const_data_ptr<Real>();
}

template <typename Body>
void ForPrecision(const at::Tensor& tensor, Body body) {
  if (at::toRealValueType(tensor.scalar_type()) == at::kDouble) {
    body(double{});
  } else {
    body(float{});
  }
}

cuda::FftExtents ExtentsOf(const at::Tensor& products, int64_t tokens) {
  return {.features = products.size(0),
          .pairs = products.size(1),
          .tokens = tokens,
          .length = products.size(2)};
}

}  // namespace

void HostFftDevice::Transform(const at::Tensor& products, bool inverse) {
  transformed.insert(
      {products.size(0), products.size(1), at::toRealValueType(products.scalar_type())});
  products.copy_(inverse ? at::fft_ifft(products, std::nullopt, -1, "forward")
                         : at::fft_fft(products));
}

void HostFftDevice::FormProducts(const at::Tensor& keys, const at::Tensor& values,
                                 const at::Tensor& products) {
  const cuda::FftExtents extents = ExtentsOf(products, keys.size(1));
  ForPrecision(products, [&]<typename Real>(Real) {
    for (int64_t channel = 0; channel < extents.features * extents.pairs; ++channel) {
      for (int64_t i = 0; i < extents.length; ++i) {
        Pairs<Real>(products)[channel * extents.length + i] =
            cuda::FormElement(Reals<Real>(keys), Pairs<Real>(values), extents, channel, i);
      }
    }
  });
}

void HostFftDevice::MultiplySpectrum(const at::Tensor& spectrum, const at::Tensor& products) {
  const int64_t length = products.size(1);
  ForPrecision(products, [&]<typename Real>(Real) {
    for (int64_t at = 0; at < products.numel(); ++at) {
      cuda::Pair<Real>& product = Pairs<Real>(products)[at];
      product = cuda::MultiplyElement(product, Pairs<Real>(spectrum)[at % length]);
    }
  });
}

void HostFftDevice::Contract(const at::Tensor& products, const at::Tensor& queries,
                             const at::Tensor& sums) {
  const cuda::FftExtents extents = ExtentsOf(products, queries.size(1));
  ForPrecision(products, [&]<typename Real>(Real) {
    for (int64_t pair = 0; pair < extents.pairs; ++pair) {
      for (int64_t i = 0; i < extents.tokens; ++i) {
        cuda::Pair<Real>& sum = Pairs<Real>(sums)[pair * extents.tokens + i];
        sum = cuda::ContractElement(Pairs<Real>(products), Reals<Real>(queries), extents, pair, i,
                                    sum);
      }
    }
  });
}

void HostFftDevice::Divide(const at::Tensor& sums, const at::Tensor& out) {
  const int64_t tokens = out.size(0);
  const int64_t columns = out.size(1) + 1;
  ForPrecision(sums, [&]<typename Real>(Real) {
    for (int64_t i = 0; i < tokens; ++i) {
      for (int64_t column = 0; column + 1 < columns; ++column) {
        out.data_ptr<float>()[i * out.stride(0) + column] = static_cast<float>(
            cuda::QuotientElement(Pairs<Real>(sums), tokens, columns, column, i));
      }
    }
  });
}

}  // namespace longwave
