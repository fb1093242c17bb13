#include "model/kernels/cuda/shared_workspace.h"

#include <cuda_runtime_api.h>

#include "model/kernels/cuda/check.h"

namespace longwave::cuda {

// At the end of the process the driver may be gone: errors are of no use then.
SharedWorkspace::~SharedWorkspace() {
  if (used_) (void)cudaEventSynchronize(last_use_);
  if (last_use_ != nullptr) (void)cudaEventDestroy(last_use_);
  if (data_ != nullptr) (void)cudaFree(data_);
}

void SharedWorkspace::Reserve(size_t bytes) {
  if (bytes <= bytes_) return;
  Synchronize();
  if (data_ != nullptr) {
    void* const old = data_;
    data_ = nullptr;
    bytes_ = 0;
    Check(cudaFree(old), "cudaFree");
  }
  Check(cudaMalloc(&data_, bytes), "cudaMalloc of a workspace");
  bytes_ = bytes;
}

void* SharedWorkspace::Acquire(Stream stream) {
  if (used_ && stream != last_stream_) {
    Check(cudaStreamWaitEvent(stream, last_use_, 0), "cudaStreamWaitEvent");
  }
  return data_;
}

void SharedWorkspace::Release(Stream stream) {
  if (last_use_ == nullptr) {
    Check(cudaEventCreateWithFlags(&last_use_, cudaEventDisableTiming), "cudaEventCreate");
  }
  Check(cudaEventRecord(last_use_, stream), "cudaEventRecord");
  last_stream_ = stream;
  used_ = true;
}

void SharedWorkspace::Synchronize() {
  if (used_) Check(cudaEventSynchronize(last_use_), "cudaEventSynchronize");
}

}  // namespace longwave::cuda
