#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_BLOCK_SCAN_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_BLOCK_SCAN_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace longwave {

// Decayed running sums over the first dimension of [blocks, columns] states, in double, rounded
// once when stored. `from` and `to` may be the same tensor; columns are adjacent, blocks any stride
// apart.

// to[J] = sum over I <= J of decay^(J - I) from[I].
void ScanForward(const at::Tensor& from, double decay, at::Tensor to);
// to[J] = sum over I >= J of decay^(I - J) from[I].
void ScanBackward(const at::Tensor& from, double decay, at::Tensor to);

// The same by log2(blocks) shifted additions, on any device: the form for cards, where block after
// block would be a launch each. Its sums are ordered otherwise, so its last bits differ.
void ScanForwardByDoubling(const at::Tensor& from, double decay, at::Tensor to);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_BLOCK_SCAN_H_
