#ifndef LONGWAVE_MODEL_TORCH_CSRC_COMPOSED_FEATURES_H_
#define LONGWAVE_MODEL_TORCH_CSRC_COMPOSED_FEATURES_H_

#include <ATen/core/Tensor.h>

#include "model/torch/csrc/problem.h"

namespace longwave::torch_ops {

// phi of rows in LibTorch's operators, with what its derivative needs; model/reference/attention.h
// has the definitions. Any device and type. Rows are [..., heads, rows, head_dim].
class ComposedFeatures {
 public:
  // Without qk_norm exponents are lowered, which changes no output and no derivative: by the row's
  // maximum for queries, by the maximum over all of a sequence's rows (dimensions `blocks` and
  // rows) for keys.
  enum class Role { kQueries, kKeys };

  // rows: [blocks, batch, heads, rows, head_dim]; valid: bool, broadcasts to [blocks, batch, 1,
  // rows, 1]. Rows that are not valid have phi = 0.
  ComposedFeatures(const Problem& problem, const at::Tensor& rows, const at::Tensor& valid,
                   Role role);

  // [blocks, batch, heads, rows, features].
  const at::Tensor& phi() const { return phi_; }
  // The derivative by the rows from the one by phi. Rows of norm 0 have none under qk_norm: 0.
  at::Tensor Backward(const at::Tensor& phi_grad) const;

 private:
  at::Tensor Shift(const at::Tensor& exponents, const at::Tensor& valid, Role role) const;
  at::Tensor Phi(const at::Tensor& valid, Role role) const;
  at::Tensor ScaledBackward(const at::Tensor& phi_grad) const;

  const Problem& problem_;
  at::Tensor factor_;  // x = factor * row; [..., 1] or undefined where it is a constant
  double constant_factor_ = 1;
  at::Tensor x_;
  at::Tensor phi_;
};

}  // namespace longwave::torch_ops

#endif  // LONGWAVE_MODEL_TORCH_CSRC_COMPOSED_FEATURES_H_
