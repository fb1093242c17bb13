#ifndef LONGWAVE_MODEL_KERNELS_CUDA_PINNED_GEMM_H_
#define LONGWAVE_MODEL_KERNELS_CUDA_PINNED_GEMM_H_

#include <cstdint>
#include <memory>
#include <string>

#include "model/kernels/cuda/shared_workspace.h"

namespace longwave::cuda {

// What the factors of a product are rounded to. Sums and results are fp32 in all of them.
enum class GemmType {
  kFp32,
  kTf32,  // fp32 in memory, 11 significant bits in the product
  kBf16,  // bf16 in memory
};

struct GemmShape {
  int64_t rows = 0;  // of x: the one height that it is made for
  int64_t inputs = 0;
  int64_t outputs = 0;
  bool bias = false;
  GemmType type = GemmType::kFp32;
};

// y = x W^T + b by cuBLASLt with one algorithm, chosen once when this is made: the first of the
// library's suggestions that splits no sum over blocks and needs no workspace. An element of y is
// then one sum in one order, whatever the row's place in x, so that a row's bits do not depend on
// the other rows; and streams do not share anything. The suggestions are a function of shape,
// library and card. Immutable; thread-safe. The device is the current one at every call.
class PinnedGemm {
 public:
  // Throws if the library has no such algorithm for the shape.
  PinnedGemm(int device, const GemmShape& shape);
  ~PinnedGemm();
  PinnedGemm(const PinnedGemm&) = delete;
  PinnedGemm& operator=(const PinnedGemm&) = delete;

  // x: [rows, inputs], weight: [outputs, inputs], of the type's numbers in memory, contiguous;
  // bias: [outputs] fp32, or null; y: [rows, outputs] fp32. All 16-byte aligned. Enqueued on
  // `stream`.
  void Run(const void* x, const void* weight, const float* bias, float* y, Stream stream) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// "cublaslt 130001", for the fingerprint.
std::string GemmLibrary();

}  // namespace longwave::cuda

#endif  // LONGWAVE_MODEL_KERNELS_CUDA_PINNED_GEMM_H_
