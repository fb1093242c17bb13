#include "model/attention/routes/block_scan.h"

#include <ATen/ATen.h>

#include <vector>

namespace longwave {
namespace {

// `step` is 1 or -1: towards later or earlier blocks.
template <typename T>
void ScanOnHost(const at::Tensor& from, double decay, at::Tensor& to, int64_t step) {
  const int64_t blocks = from.size(0);
  const int64_t columns = from.size(1);
  std::vector<double> running(columns, 0);
  for (int64_t visited = 0; visited < blocks; ++visited) {
    const int64_t block = step > 0 ? visited : blocks - 1 - visited;
    const T* source = from.const_data_ptr<T>() + block * from.stride(0);
    T* target = to.data_ptr<T>() + block * to.stride(0);
    for (int64_t c = 0; c < columns; ++c) {
      running[c] = running[c] * decay + source[c];
      target[c] = static_cast<T>(running[c]);
    }
  }
}

void Scan(const at::Tensor& from, double decay, at::Tensor& to, int64_t step) {
  if (from.is_cpu()) {
    if (from.scalar_type() == at::kDouble) {
      ScanOnHost<double>(from, decay, to, step);
    } else {
      ScanOnHost<float>(from, decay, to, step);
    }
  } else if (step > 0) {
    ScanForwardByDoubling(from, decay, to);
  } else {
    at::Tensor reversed = from.flip(0);
    ScanForwardByDoubling(reversed, decay, reversed);
    to.copy_(reversed.flip(0));
  }
}

}  // namespace

void ScanForward(const at::Tensor& from, double decay, at::Tensor to) { Scan(from, decay, to, 1); }

void ScanBackward(const at::Tensor& from, double decay, at::Tensor to) {
  Scan(from, decay, to, -1);
}

void ScanForwardByDoubling(const at::Tensor& from, double decay, at::Tensor to) {
  at::Tensor sums = from.to(at::kDouble, /*non_blocking=*/false, /*copy=*/true);
  double factor = decay;
  for (int64_t shift = 1; shift < from.size(0); shift *= 2) {
    const int64_t reached = from.size(0) - shift;
    at::Tensor next = sums.clone();
    next.narrow(0, shift, reached).add_(sums.narrow(0, 0, reached), factor);
    sums = std::move(next);
    factor *= factor;
  }
  to.copy_(sums);
}

}  // namespace longwave
