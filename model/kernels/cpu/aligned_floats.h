#ifndef LONGWAVE_MODEL_KERNELS_CPU_ALIGNED_FLOATS_H_
#define LONGWAVE_MODEL_KERNELS_CPU_ALIGNED_FLOATS_H_

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "model/kernels/cpu/kernels.h"

namespace longwave::cpu {

// Uninitialised floats that begin on a 64-byte boundary, as the kernels load them. Movable.
class AlignedFloats {
 public:
  AlignedFloats() = default;
  // Throws std::bad_alloc.
  explicit AlignedFloats(int64_t size) : size_(size) {
    if (size == 0) return;
    data_.reset(static_cast<float*>(
        std::aligned_alloc(64, static_cast<size_t>(RoundUp(size, 16)) * sizeof(float))));
    if (data_ == nullptr) throw std::bad_alloc();
  }

  int64_t size() const { return size_; }
  int64_t bytes() const { return size_ * static_cast<int64_t>(sizeof(float)); }
  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  int64_t size_ = 0;
  std::unique_ptr<float, Free> data_;
};

}  // namespace longwave::cpu

#endif  // LONGWAVE_MODEL_KERNELS_CPU_ALIGNED_FLOATS_H_
