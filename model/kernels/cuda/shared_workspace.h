#ifndef LONGWAVE_MODEL_KERNELS_CUDA_SHARED_WORKSPACE_H_
#define LONGWAVE_MODEL_KERNELS_CUDA_SHARED_WORKSPACE_H_

#include <cstddef>

struct CUevent_st;
struct CUstream_st;

namespace longwave::cuda {

// cudaStream_t without CUDA's headers.
using Stream = CUstream_st*;

// One buffer of a device's memory that the library calls of several streams take turns in. A call
// is put between Acquire and Release; the streams are ordered by an event, so that no call begins
// before the one before it has ended. Not thread-safe: whoever owns it locks. The device is the
// current one at every call.
class SharedWorkspace {
 public:
  SharedWorkspace() = default;
  ~SharedWorkspace();
  SharedWorkspace(const SharedWorkspace&) = delete;
  SharedWorkspace& operator=(const SharedWorkspace&) = delete;

  // At least so many bytes. Growing waits for the device to have done with the old buffer.
  void Reserve(size_t bytes);
  // Null if nothing was reserved. What is enqueued on `stream` after this call may use it.
  void* Acquire(Stream stream);
  // What was enqueued on `stream` so far is the last use.
  void Release(Stream stream);
  // Waits for the last use.
  void Synchronize();

  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
  CUevent_st* last_use_ = nullptr;
  Stream last_stream_ = nullptr;
  bool used_ = false;
};

}  // namespace longwave::cuda

#endif  // LONGWAVE_MODEL_KERNELS_CUDA_SHARED_WORKSPACE_H_
