// The build with CUDA.
#include "model/attention/routes/fft_cuda.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAStream.h>

#include "model/kernels/cuda/cufft_plan_cache.h"
#include "model/kernels/cuda/device_registry.h"
#include "model/kernels/cuda/fft_kernels.h"

namespace longwave {
namespace {

cuda::Stream CurrentStream(const at::Tensor& tensor) {
  return c10::cuda::getCurrentCUDAStream(tensor.device().index()).stream();
}

template <typename Real>
cuda::Pair<Real>* Pairs(const at::Tensor& complex) {
  static_assert(sizeof(cuda::Pair<Real>) == sizeof(c10::complex<Real>));
  return reinterpret_cast<cuda::Pair<Real>*>(complex.data_ptr<c10::complex<Real>>());
}

// Calls body(Real{}) with the precision of a real or complex tensor.
template <typename Body>
void ForPrecision(const at::Tensor& tensor, Body body) {
  if (at::toRealValueType(tensor.scalar_type()) == at::kDouble) {
    body(double{});
  } else {
    body(float{});
  }
}

// Of products [features, pairs, length] of sequences of `tokens`.
cuda::FftExtents ExtentsOf(const at::Tensor& products, int64_t tokens) {
  return {.features = products.size(0),
          .pairs = products.size(1),
          .tokens = tokens,
          .length = products.size(2)};
}

class CudaFftDevice final : public FftDevice {
 public:
  explicit CudaFftDevice(int device) : plans_(cuda::OfDevice<cuda::CufftPlanCache>(device)) {}

  void Prepare(int64_t channels, int64_t length, at::ScalarType type) override {
    plans_->Prepare({.length = length, .batch = channels, .fp64 = type == at::kDouble});
  }

  void Transform(const at::Tensor& products, bool inverse) override {
    plans_->Execute({.length = products.size(1),
                     .batch = products.size(0),
                     .fp64 = products.scalar_type() == at::kComplexDouble},
                    inverse, products.data_ptr(), CurrentStream(products));
  }

  void FormProducts(const at::Tensor& keys, const at::Tensor& values,
                    const at::Tensor& products) override {
    ForPrecision(products, [&]<typename Real>(Real) {
      cuda::LaunchFormProducts<Real>(keys.const_data_ptr<Real>(), Pairs<Real>(values),
                                     ExtentsOf(products, keys.size(1)), Pairs<Real>(products),
                                     CurrentStream(products));
    });
  }

  void MultiplySpectrum(const at::Tensor& spectrum, const at::Tensor& products) override {
    ForPrecision(products, [&]<typename Real>(Real) {
      cuda::LaunchMultiplySpectrum<Real>(Pairs<Real>(spectrum), products.size(0), products.size(1),
                                         Pairs<Real>(products), CurrentStream(products));
    });
  }

  void Contract(const at::Tensor& products, const at::Tensor& queries,
                const at::Tensor& sums) override {
    ForPrecision(products, [&]<typename Real>(Real) {
      cuda::LaunchContract<Real>(Pairs<Real>(products), queries.const_data_ptr<Real>(),
                                 ExtentsOf(products, queries.size(1)), Pairs<Real>(sums),
                                 CurrentStream(products));
    });
  }

  void Divide(const at::Tensor& sums, const at::Tensor& out) override {
    ForPrecision(sums, [&]<typename Real>(Real) {
      cuda::LaunchDivide<Real>(Pairs<Real>(sums), sums.size(1), out.size(1) + 1, out.stride(0),
                               out.data_ptr<float>(), CurrentStream(sums));
    });
  }

  void Share(const at::Tensor& tensor) override {
    tensor.record_stream(c10::cuda::getCurrentCUDAStream(tensor.device().index()).unwrap());
  }

  void Synchronize() override { c10::cuda::getCurrentCUDAStream().synchronize(); }

 private:
  const std::shared_ptr<cuda::CufftPlanCache> plans_;
};

}  // namespace

std::shared_ptr<FftDevice> MakeCudaFftDevice(c10::Device device) {
  if (!device.is_cuda()) return nullptr;
  return std::make_shared<CudaFftDevice>(device.index());
}

}  // namespace longwave
