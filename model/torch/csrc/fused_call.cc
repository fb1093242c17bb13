#include "model/torch/csrc/fused_call.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

namespace longwave::torch_ops {
namespace {

std::vector<double> Doubles(const at::Tensor& tensor) {
  const at::Tensor wide = tensor.detach().to(at::kDouble).contiguous();
  return {wide.const_data_ptr<double>(), wide.const_data_ptr<double>() + wide.numel()};
}

std::vector<int64_t> Lengths(const Problem& problem) {
  if (!problem.lengths.defined()) {
    return std::vector<int64_t>(problem.batch(), problem.tokens());
  }
  const int64_t* const data = problem.lengths.const_data_ptr<int64_t>();
  return {data, data + problem.batch()};
}

ToeplitzWeights MakeWeights(const Problem& problem) {
  const std::vector<double> falls =
      problem.slope.defined() ? Doubles(problem.slope) : std::vector<double>(problem.heads(), 0.0);
  // More tokens than near has offsets, so that the maximum of b and the tails are the same for
  // every n.
  const int64_t max_tokens = std::max(problem.tokens(), problem.reach() + 2);
  return ToeplitzWeights(
      RelativeBias::FromOffsets(
          problem.reach(),
          {problem.near.const_data_ptr<float>(), static_cast<size_t>(problem.near.numel())}, falls),
      problem.causal, max_tokens);
}

AttentionShape ShapeOf(const Problem& problem) {
  return {.heads = problem.heads(),
          .head_dim = problem.head_dim(),
          .features = problem.features(),
          .kind = problem.kind,
          .normalised = problem.qk_norm,
          .causal = problem.causal,
          .device = problem.q.device().is_cpu() ? DeviceClass::kCpu : DeviceClass::kCuda};
}

std::vector<std::vector<double>> Projections(const Problem& problem) {
  std::vector<std::vector<double>> projections;
  if (!problem.projection.defined()) return projections;
  for (int64_t h = 0; h < problem.heads(); ++h) {
    projections.push_back(Doubles(problem.projection.select(0, h)));
  }
  return projections;
}

}  // namespace

bool FusedCall::Supports(const Problem& problem) {
  return problem.q.scalar_type() == at::kFloat && FusedLayer::Supports(ShapeOf(problem));
}

FusedCall::FusedCall(const Problem& problem)
    : problem_(problem),
      lengths_(Lengths(problem)),
      heads_(problem.heads()),
      weights_(MakeWeights(problem)),
      layer_(std::make_shared<const FusedLayer>(ShapeOf(problem), problem.scale,
                                                Projections(problem), weights_,
                                                *cpu::FindKernels("auto"))) {
  std::iota(heads_.begin(), heads_.end(), 0);
}

}  // namespace longwave::torch_ops
