// The build with CUDA.
#include <ATen/ATen.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>

#include <utility>

#include "model/encoder/device_linear.h"
#include "model/kernels/cuda/pinned_gemm.h"

namespace longwave {
namespace {

cuda::GemmType GemmTypeOf(ComputeType type) {
  switch (type) {
    case ComputeType::kFp32:
      return cuda::GemmType::kFp32;
    case ComputeType::kTf32:
      return cuda::GemmType::kTf32;
    case ComputeType::kBf16:
      break;
  }
  return cuda::GemmType::kBf16;
}

at::ScalarType NumbersOf(ComputeType type) {
  return type == ComputeType::kBf16 ? at::kBFloat16 : at::kFloat;
}

class CudaLinear final : public DeviceLinear {
 public:
  CudaLinear(const at::Tensor& weight, at::Tensor bias, int64_t tile_rows, ComputeType type)
      : tile_rows_(tile_rows),
        numbers_(NumbersOf(type)),
        weight_(weight.to(numbers_).contiguous()),
        bias_(std::move(bias)),
        gemm_(weight.device().index(), {.rows = tile_rows,
                                        .inputs = weight.size(1),
                                        .outputs = weight.size(0),
                                        .bias = bias_.defined(),
                                        .type = GemmTypeOf(type)}) {}

  at::Tensor Apply(const at::Tensor& x) const override {
    TORCH_CHECK(x.size(0) == tile_rows_, "a tile of ", x.size(0), " rows, not ", tile_rows_);
    const at::Tensor factors = x.to(numbers_).contiguous();
    at::Tensor y = at::empty({tile_rows_, weight_.size(0)}, x.options().dtype(at::kFloat));
    gemm_.Run(factors.const_data_ptr(), weight_.const_data_ptr(),
              bias_.defined() ? bias_.const_data_ptr<float>() : nullptr, y.data_ptr<float>(),
              c10::cuda::getCurrentCUDAStream(x.device().index()).stream());
    return y;
  }

 private:
  const int64_t tile_rows_;
  const at::ScalarType numbers_;
  const at::Tensor weight_;
  const at::Tensor bias_;
  const cuda::PinnedGemm gemm_;
};

}  // namespace

std::shared_ptr<const DeviceLinear> MakeCudaLinear(const at::Tensor& weight, const at::Tensor& bias,
                                                   int64_t tile_rows, ComputeType type) {
  if (!weight.is_cuda()) return nullptr;
  return std::make_shared<const CudaLinear>(weight, bias, tile_rows, type);
}

std::string CudaLinearKernels() { return cuda::GemmLibrary(); }

}  // namespace longwave
