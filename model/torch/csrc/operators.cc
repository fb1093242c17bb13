// The operators as PyTorch sees them. Loading this library registers them.

#include <ATen/ATen.h>
#include <torch/library.h>

#include <optional>
#include <string>
#include <tuple>

#include "model/torch/csrc/attention_forms.h"
#include "model/torch/csrc/problem.h"

namespace longwave::torch_ops {
namespace {

using OptionalTensor = std::optional<at::Tensor>;

std::tuple<at::Tensor, at::Tensor> Forward(const at::Tensor& q, const at::Tensor& k,
                                           const at::Tensor& v, const OptionalTensor& projection,
                                           const at::Tensor& near, const OptionalTensor& slope,
                                           const OptionalTensor& lengths, std::string features,
                                           bool qk_norm, double scale, bool causal) {
  const Problem problem =
      MakeProblem({q, k, v, projection, near, slope, lengths, features, qk_norm, scale, causal});
  Output output = ComputeForward(problem);
  return {std::move(output.out), std::move(output.denominator)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> Backward(
    const at::Tensor& grad, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& out, const at::Tensor& denominator, const OptionalTensor& projection,
    const at::Tensor& near, const OptionalTensor& slope, const OptionalTensor& lengths,
    std::string features, bool qk_norm, double scale, bool causal) {
  const Problem problem =
      MakeProblem({q, k, v, projection, near, slope, lengths, features, qk_norm, scale, causal});
  Gradients gradients = ComputeBackward(problem, {.out = out, .denominator = denominator}, grad);
  return {std::move(gradients.q), std::move(gradients.k), std::move(gradients.v),
          std::move(gradients.near)};
}

std::tuple<at::Tensor, at::Tensor> ForwardShapes(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const OptionalTensor& projection,
    const at::Tensor& near, const OptionalTensor& slope, const OptionalTensor& lengths,
    std::string features, bool qk_norm, double scale, bool causal) {
  const c10::SymIntArrayRef shape = q.sym_sizes();
  TORCH_CHECK_VALUE(shape.size() == 4, "q has ", shape.size(),
                    " dimensions, expected [batch, n, heads, head_dim]");
  return {at::empty_symint(shape, q.options()), at::empty_symint(shape.slice(0, 3), q.options())};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> BackwardShapes(
    const at::Tensor& grad, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& out, const at::Tensor& denominator, const OptionalTensor& projection,
    const at::Tensor& near, const OptionalTensor& slope, const OptionalTensor& lengths,
    std::string features, bool qk_norm, double scale, bool causal) {
  return {at::empty_symint(q.sym_sizes(), q.options()),
          at::empty_symint(q.sym_sizes(), q.options()),
          at::empty_symint(q.sym_sizes(), q.options()),
          at::empty_symint(near.sym_sizes(), near.options())};
}

}  // namespace

TORCH_LIBRARY(longwave, library) {
  library.def(
      "kernelized_attention(Tensor q, Tensor k, Tensor v, Tensor? projection, Tensor near, "
      "Tensor? slope, Tensor? lengths, str features, bool qk_norm, float scale, bool causal) "
      "-> (Tensor out, Tensor denominator)");
  library.def(
      "kernelized_attention_backward(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor out, "
      "Tensor denominator, Tensor? projection, Tensor near, Tensor? slope, Tensor? lengths, "
      "str features, bool qk_norm, float scale, bool causal) "
      "-> (Tensor dq, Tensor dk, Tensor dv, Tensor dnear)");
}

TORCH_LIBRARY_IMPL(longwave, CPU, library) {
  library.impl("kernelized_attention", &Forward);
  library.impl("kernelized_attention_backward", &Backward);
}

TORCH_LIBRARY_IMPL(longwave, CUDA, library) {
  library.impl("kernelized_attention", &Forward);
  library.impl("kernelized_attention_backward", &Backward);
}

TORCH_LIBRARY_IMPL(longwave, Meta, library) {
  library.impl("kernelized_attention", &ForwardShapes);
  library.impl("kernelized_attention_backward", &BackwardShapes);
}

}  // namespace longwave::torch_ops
