#include "model/torch/csrc/attention_forms.h"

#include <ATen/ATen.h>

#include <utility>

#include "model/torch/csrc/fused_call.h"

namespace longwave::torch_ops {
namespace {

// Where b rises further above b(0), rows of c in fp32 could vanish; as in the planner of
// model/attention.
constexpr double kMaxFloatSpread = 60;

// Whether fp32 is not enough. A device is not asked: reading b would stall it.
bool NeedsDouble(const Problem& problem) {
  if (!problem.near.device().is_cpu() || problem.near.scalar_type() != at::kFloat) return false;
  const at::Tensor near = problem.near.detach();
  const at::Tensor rise = near.amax({1}) - near.select(1, problem.reach());
  return rise.max().item<double>() > kMaxFloatSpread;
}

at::Tensor ToDouble(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.to(at::kDouble) : tensor;
}

Problem InDouble(const Problem& problem) {
  Problem wide = problem;
  for (at::Tensor* const tensor :
       {&wide.q, &wide.k, &wide.v, &wide.projection, &wide.near, &wide.slope}) {
    *tensor = ToDouble(*tensor);
  }
  return wide;
}

}  // namespace

Output ComputeForward(const Problem& problem) {
  if (!NeedsDouble(problem)) {
    if (FusedCall::Supports(problem)) return FusedForward(FusedCall(problem));
    return ComposedForward(problem);
  }
  Output output = ComposedForward(InDouble(problem));
  output.out = output.out.to(at::kFloat);
  output.denominator = output.denominator.to(at::kFloat);
  return output;
}

Gradients ComputeBackward(const Problem& problem, const Output& output, const at::Tensor& grad) {
  if (!NeedsDouble(problem)) {
    if (FusedCall::Supports(problem)) return FusedBackward(FusedCall(problem), output, grad);
    return ComposedBackward(problem, output, grad);
  }
  Gradients gradients = ComposedBackward(
      InDouble(problem), {.out = ToDouble(output.out), .denominator = ToDouble(output.denominator)},
      ToDouble(grad));
  for (at::Tensor* const tensor : {&gradients.q, &gradients.k, &gradients.v, &gradients.near}) {
    *tensor = tensor->to(at::kFloat);
  }
  return gradients;
}

}  // namespace longwave::torch_ops
