// The build without CUDA.
#include "model/encoder/device_linear.h"

namespace longwave {

std::shared_ptr<const DeviceLinear> MakeCudaLinear(const at::Tensor&, const at::Tensor&, int64_t,
                                                   ComputeType) {
  return nullptr;
}

std::string CudaLinearKernels() { return "none"; }

}  // namespace longwave
