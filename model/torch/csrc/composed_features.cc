#include "model/torch/csrc/composed_features.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <vector>

namespace longwave::torch_ops {

ComposedFeatures::ComposedFeatures(const Problem& problem, const at::Tensor& rows,
                                   const at::Tensor& valid, Role role)
    : problem_(problem) {
  if (problem.qk_norm) {
    const at::Tensor norm = rows.norm(2, {-1}, /*keepdim=*/true);
    factor_ = at::where(norm == 0, at::zeros_like(norm), problem.scale / norm);
    x_ = rows * factor_;
  } else {
    constant_factor_ = std::pow(static_cast<double>(problem.head_dim()), -0.25);
    x_ = rows * constant_factor_;
  }
  phi_ = Phi(valid, role).masked_fill_(valid.logical_not(), 0);
}

at::Tensor ComposedFeatures::Phi(const at::Tensor& valid, Role role) const {
  if (problem_.kind == FeatureKind::kElu) {
    return at::where(x_ > 0, x_ + 1, at::exp(at::clamp_max(x_, 0)));
  }
  const double log_norm = 0.5 * std::log(static_cast<double>(problem_.projection.size(1)));
  const at::Tensor half_square = x_.square().sum(-1, /*keepdim=*/true) / 2;
  at::Tensor angles = at::matmul(x_, problem_.projection.transpose(1, 2));
  if (problem_.kind == FeatureKind::kTrf) {
    const at::Tensor exponent = half_square - Shift(half_square, valid, role);
    return at::cat({angles.sin(), angles.cos()}, -1).mul_((exponent - log_norm).exp_());
  }
  angles.sub_(half_square);
  return angles.sub_(Shift(angles, valid, role) + log_norm).exp_();
}

at::Tensor ComposedFeatures::Shift(const at::Tensor& exponents, const at::Tensor& valid,
                                   Role role) const {
  if (problem_.qk_norm) return at::zeros({}, exponents.options());
  if (role == Role::kQueries) return exponents.amax({-1}, /*keepdim=*/true);
  // A sequence without a valid row takes the lowest number and has no phi anyway.
  return exponents.masked_fill(valid.logical_not(), std::numeric_limits<float>::lowest())
      .amax({0, 3, 4}, /*keepdim=*/true);
}

// By x. prf: sum_r g_r phi_r (w_r - x); trf: sum_r (g_sin phi_cos - g_cos phi_sin) w_r plus
// (g . phi) x; elu: g where x > 0, else g e^x.
at::Tensor ComposedFeatures::ScaledBackward(const at::Tensor& phi_grad) const {
  if (problem_.kind == FeatureKind::kElu) return phi_grad * phi_.clamp_max(1);
  const at::Tensor products = phi_grad * phi_;
  const at::Tensor total = products.sum(-1, /*keepdim=*/true);
  if (problem_.kind != FeatureKind::kTrf) {
    return at::matmul(products, problem_.projection) - total * x_;
  }
  const std::vector<at::Tensor> grad = phi_grad.chunk(2, -1);
  const std::vector<at::Tensor> phi = phi_.chunk(2, -1);
  return at::matmul(grad[0] * phi[1] - grad[1] * phi[0], problem_.projection) + total * x_;
}

at::Tensor ComposedFeatures::Backward(const at::Tensor& phi_grad) const {
  const at::Tensor x_grad = ScaledBackward(phi_grad);
  if (!problem_.qk_norm) return x_grad * constant_factor_;
  // x has the norm `scale`, so that what points along x is lost.
  const at::Tensor along = (x_grad * x_).sum(-1, /*keepdim=*/true);
  return (x_grad - x_ * (along / (problem_.scale * problem_.scale))) * factor_;
}

}  // namespace longwave::torch_ops
