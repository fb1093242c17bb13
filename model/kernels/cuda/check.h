#ifndef LONGWAVE_MODEL_KERNELS_CUDA_CHECK_H_
#define LONGWAVE_MODEL_KERNELS_CUDA_CHECK_H_

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cufft.h>

// Results of CUDA's libraries as exceptions, which the encoder's barrier turns into statuses:
// std::bad_alloc if the device has no memory for it, else std::runtime_error with what failed.
namespace longwave::cuda {

// `what` names the call.
void Check(cudaError_t error, const char* what);
void Check(cufftResult result, const char* what);
void Check(cublasStatus_t status, const char* what);

}  // namespace longwave::cuda

#endif  // LONGWAVE_MODEL_KERNELS_CUDA_CHECK_H_
