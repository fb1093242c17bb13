#ifndef LONGWAVE_MODEL_ENCODER_DEVICE_LINEAR_H_
#define LONGWAVE_MODEL_ENCODER_DEVICE_LINEAR_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "model/encoder/compute_type.h"

namespace longwave {

// y = x W^T + b on a device that is not the CPU, where a library has to be told how not to let a
// row's bits depend on other rows. Immutable; thread-safe.
class DeviceLinear {
 public:
  virtual ~DeviceLinear() = default;
  // x: [tile_rows, inputs] fp32, any row stride. Returns [tile_rows, outputs] fp32, contiguous.
  virtual at::Tensor Apply(const at::Tensor& x) const = 0;
};

// For weights on a CUDA device; null for a CPU's. CMake takes device_linear_cuda.cc or, without
// CUDA, device_linear_absent.cc. `weight`, `bias`: as Linear's. Throws if the library cannot.
std::shared_ptr<const DeviceLinear> MakeCudaLinear(const at::Tensor& weight, const at::Tensor& bias,
                                                   int64_t tile_rows, ComputeType type);

// Library and version, for the fingerprint.
std::string CudaLinearKernels();

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_DEVICE_LINEAR_H_
