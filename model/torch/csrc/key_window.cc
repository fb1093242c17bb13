#include "model/torch/csrc/key_window.h"

#include <algorithm>
#include <cstring>

namespace longwave::torch_ops {
namespace {

constexpr int64_t kB = cpu::kRowBlock;

}  // namespace

KeyWindow::KeyWindow(const cpu::HeadShape& shape, int64_t capacity)
    : shape_(shape),
      capacity_(capacity),
      phi_columns_(cpu::PaddedColumns(shape.features)),
      value_columns_(cpu::PaddedColumns(shape.head_dim + 1)),
      sum_columns_(cpu::PaddedColumns(shape.head_dim)) {}

int64_t KeyWindow::Floats(const cpu::HeadShape& shape, int64_t capacity) {
  return capacity * (2 * cpu::PaddedColumns(shape.features) + shape.features +
                     cpu::PaddedColumns(shape.head_dim + 1) + shape.head_dim + 1 +
                     cpu::PaddedColumns(shape.head_dim));
}

void KeyWindow::SetMemory(float* memory) {
  const auto take = [&](int64_t columns) {
    float* const part = memory;
    memory += capacity_ * columns;  // whole groups of keys, so whole lines
    return part;
  };
  phi_rows_ = take(phi_columns_);
  phi_groups_ = take(shape_.features);
  value_rows_ = take(value_columns_);
  value_groups_ = take(shape_.head_dim + 1);
  key_sums_ = take(phi_columns_);
  value_sums_ = take(sum_columns_);
}

void KeyWindow::Move(int64_t base, int64_t begin, int64_t end) {
  const auto move = [&](float* part, int64_t columns) {
    std::memmove(part + (begin - base) * columns, part + (begin - base_) * columns,
                 static_cast<size_t>((end - begin) * columns) * sizeof(float));
  };
  move(phi_rows_, phi_columns_);
  move(phi_groups_, shape_.features);
  move(value_rows_, value_columns_);
  move(value_groups_, shape_.head_dim + 1);
  move(key_sums_, phi_columns_);
  move(value_sums_, sum_columns_);
  base_ = base;
}

void KeyWindow::Form(const cpu::Kernels& kernels, const cpu::HeadFeatures& features,
                     cpu::StridedRows k, cpu::StridedRows v, int64_t first, int64_t count,
                     float* scratch) {
  const int64_t d = shape_.head_dim;
  for (int64_t done = 0; done < count; done += kB) {
    const int64_t token = first + done;
    const int64_t rows = std::min(kB, count - done);
    const int64_t padded = cpu::RoundUp(rows, cpu::kKeyGroup);
    float* const phi = phi_rows(token);
    kernels.query_features(features, {k.data + done * k.stride, k.stride}, rows, scratch, phi);
    std::fill(phi + rows * phi_columns_, phi + padded * phi_columns_, 0.0f);
    kernels.pack_columns(phi, phi_columns_, rows, shape_.features, phi_groups(token));
    float* const values = value_rows(token);
    std::fill(values, values + padded * value_columns_, 0.0f);
    for (int64_t r = 0; r < rows; ++r) {
      std::copy_n(v.data + (done + r) * v.stride, d, values + r * value_columns_);
      values[r * value_columns_ + d] = 1;
    }
    kernels.pack_columns(values, value_columns_, rows, d + 1, value_groups(token));
  }
}

void KeyWindow::ClearSums(int64_t begin, int64_t end) {
  std::fill(key_sums(begin), key_sums(end), 0.0f);
  std::fill(value_sums(begin), value_sums(end), 0.0f);
}

}  // namespace longwave::torch_ops
