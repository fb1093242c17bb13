#ifndef LONGWAVE_MODEL_TORCH_CSRC_KEY_WINDOW_H_
#define LONGWAVE_MODEL_TORCH_CSRC_KEY_WINDOW_H_

#include <cstdint>

#include "model/kernels/cpu/kernels.h"

namespace longwave::torch_ops {

// Keys and values of a run of tokens in every layout that the backward pass reads, and the sums of
// their derivatives. Token j is at index j - base; base is a multiple of kKeyGroup, and may be
// negative.
class KeyWindow {
 public:
  // For at most `capacity` tokens, whole groups.
  KeyWindow(const cpu::HeadShape& shape, int64_t capacity);

  static int64_t Floats(const cpu::HeadShape& shape, int64_t capacity);
  // Memory for Floats(), 64-byte aligned.
  void SetMemory(float* memory);

  int64_t base() const { return base_; }
  int64_t end() const { return base_ + capacity_; }
  // Empties the window and lets it begin at `base`.
  void Reset(int64_t base) { base_ = base; }
  // Lets the window begin at `base`, keeping the tokens [begin, end), which lie in both.
  void Move(int64_t base, int64_t begin, int64_t end);

  // Forms tokens [first, first + count), first a whole group, and what pads them to whole groups.
  // Rows of k and v from `first` on. Scratch: FeatureScratchFloats.
  void Form(const cpu::Kernels& kernels, const cpu::HeadFeatures& features, cpu::StridedRows k,
            cpu::StridedRows v, int64_t first, int64_t count, float* scratch);
  // Sets the sums of [begin, end) to zero.
  void ClearSums(int64_t begin, int64_t end);

  float* phi_rows(int64_t token) { return phi_rows_ + (token - base_) * phi_columns_; }
  float* phi_groups(int64_t token) { return phi_groups_ + (token - base_) * shape_.features; }
  // [v | 1]
  float* value_rows(int64_t token) { return value_rows_ + (token - base_) * value_columns_; }
  float* value_groups(int64_t token) {
    return value_groups_ + (token - base_) * (shape_.head_dim + 1);
  }
  float* key_sums(int64_t token) { return key_sums_ + (token - base_) * phi_columns_; }
  float* value_sums(int64_t token) { return value_sums_ + (token - base_) * sum_columns_; }

 private:
  const cpu::HeadShape shape_;
  const int64_t capacity_;
  const int64_t phi_columns_;
  const int64_t value_columns_;  // of [v | 1]
  const int64_t sum_columns_;    // of v
  int64_t base_ = 0;
  float* phi_rows_ = nullptr;
  float* phi_groups_ = nullptr;
  float* value_rows_ = nullptr;
  float* value_groups_ = nullptr;
  float* key_sums_ = nullptr;
  float* value_sums_ = nullptr;
};

}  // namespace longwave::torch_ops

#endif  // LONGWAVE_MODEL_TORCH_CSRC_KEY_WINDOW_H_
