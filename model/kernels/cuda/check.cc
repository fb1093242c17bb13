#include "model/kernels/cuda/check.h"

#include <new>
#include <stdexcept>

#include "absl/strings/str_cat.h"

namespace longwave::cuda {

void Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  // Forget it where it can be forgotten, or the next check of somebody else's call would find it.
  (void)cudaGetLastError();
  if (error == cudaErrorMemoryAllocation) throw std::bad_alloc();
  throw std::runtime_error(absl::StrCat(what, ": ", cudaGetErrorString(error)));
}

void Check(cufftResult result, const char* what) {
  if (result == CUFFT_SUCCESS) return;
  (void)cudaGetLastError();
  if (result == CUFFT_ALLOC_FAILED) throw std::bad_alloc();
  throw std::runtime_error(absl::StrCat(what, ": cuFFT result ", static_cast<int>(result)));
}

void Check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  (void)cudaGetLastError();
  if (status == CUBLAS_STATUS_ALLOC_FAILED) throw std::bad_alloc();
  throw std::runtime_error(absl::StrCat(what, ": ", cublasLtGetStatusString(status)));
}

}  // namespace longwave::cuda
