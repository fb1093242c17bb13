#ifndef LONGWAVE_MODEL_ENCODER_LINEAR_H_
#define LONGWAVE_MODEL_ENCODER_LINEAR_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "model/encoder/compute_type.h"
#include "model/encoder/device_linear.h"
#include "model/weights/model_config.h"

namespace longwave {

// Rows of one tile. Dense layers and element-wise operations run on whole tiles of one fixed
// height, the last one padded, because a library's kernels give a row the same bits at every
// position of a matrix of one height but not of every height (oneDNN and MKL both; tested).
//
// CPU: the dense half of a 256-wide layer with its element-wise work ran at 216, 233 and 249
// GFLOP/s with 64, 128 and 256 rows (one Zen 5 thread, AVX-512; a large product alone: 275). 64 is
// taken: a request of up to 64 tokens computes half the padding, one of 128 occupies two threads,
// and next to the attention the difference is 4 % of a layer. CUDA: tall enough to fill a card's
// multiprocessors; not measured.
inline constexpr int64_t kCpuTileRows = 64;
inline constexpr int64_t kCudaTileRows = 2048;

// What follows the product, in place.
enum class PostOp { kNone, kGelu, kGeluTanh, kRelu };

// y = f(x W^T + b). Immutable; thread-safe.
class Linear {
 public:
  Linear() = default;
  // weight: [out, in]; bias: [out] or undefined; both fp32 and contiguous, on the device that they
  // will be used on. `tile_rows` is the height that the packing is chosen for. `compute`: kFp32 on
  // a CPU.
  Linear(const at::Tensor& weight, at::Tensor bias, int64_t tile_rows,
         ComputeType compute = ComputeType::kFp32);

  // x: [rows, in], last stride 1; on CUDA rows = tile_rows. Returns [rows, out], contiguous, fp32.
  at::Tensor Apply(const at::Tensor& x, PostOp post_op) const;

  int64_t inputs() const { return inputs_; }
  int64_t outputs() const { return outputs_; }
  // x W^T alone.
  double FlopsPerRow() const { return 2.0 * inputs_ * outputs_; }

 private:
  int64_t inputs_ = 0;
  int64_t outputs_ = 0;
  bool packed_ = false;  // oneDNN; else one [in, out] matrix for the vendor's sgemm
  at::Tensor weight_;
  at::Tensor bias_;
  std::shared_ptr<const DeviceLinear> device_;  // CUDA only; it has weight and bias then
};

// "onednn 3.10.2" or the vendor's library: which kernels Linear uses on a CPU, for the fingerprint.
std::string CpuLinearKernels();

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_LINEAR_H_
