#ifndef LONGWAVE_MODEL_TORCH_CSRC_COMPOSED_H_
#define LONGWAVE_MODEL_TORCH_CSRC_COMPOSED_H_

#include <ATen/core/Tensor.h>

#include "model/torch/csrc/problem.h"

namespace longwave::torch_ops {

// What the forward pass leaves: z, and what the backward pass needs beside its own arguments.
struct Output {
  at::Tensor out;          // [batch, n, heads, head_dim], zero in padding rows
  at::Tensor denominator;  // [batch, n, heads]: sum over j of c(j - i) phi(q_i) . phi(k_j); 1 in
                           // padding rows
};

struct Gradients {
  at::Tensor q, k, v;  // [batch, n, heads, head_dim]
  at::Tensor near;     // [heads, 2 R + 1]
};

// The operator in LibTorch's own operators, for any device, type and feature map: blocks of 128
// tokens, a band of blocks around the diagonal in full, and running sums of blocks beyond it.
// Memory O(n): phi and [v | 1] of the whole call, one state a block. O(n R) time: O(n^2) where the
// bias has no structure (R near n).
Output ComposedForward(const Problem& problem);
// `output` is what ComposedForward returned for the same problem.
Gradients ComposedBackward(const Problem& problem, const Output& output, const at::Tensor& grad);

}  // namespace longwave::torch_ops

#endif  // LONGWAVE_MODEL_TORCH_CSRC_COMPOSED_H_
