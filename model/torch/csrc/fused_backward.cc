#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <map>
#include <vector>

#include "model/attention/routes/fused_rows.h"
#include "model/kernels/cpu/aligned_floats.h"
#include "model/torch/csrc/fused_call.h"
#include "model/torch/csrc/head_backward.h"

namespace longwave::torch_ops {
namespace {

// K for a sequence of n tokens: that of b's own shape, so that every offset up to R has a
// derivative of its own; or all of n, where states would cost more than the keys that they stand
// for.
int64_t BackwardBandTokens(const FusedCall& call, int64_t n) {
  const double m = static_cast<double>(call.problem().features());
  const double d = static_cast<double>(call.problem().head_dim());
  // Operations of a row: both walks' states and features against five products a key.
  const double far_keys = 32 * m * d / (5 * (m + d));
  const int64_t reach = call.problem().reach();
  const double window = static_cast<double>(cpu::kRowBlock) + 2.0 * static_cast<double>(reach);
  if (static_cast<double>(n) <= window + far_keys) return cpu::RoundUp(n, cpu::kKeyGroup) + 1;
  return std::max<int64_t>(1, reach);
}

// The bands of all heads for one K.
std::vector<BackwardBand> MakeBands(const FusedCall& call, int64_t tokens) {
  FusedBands bands = MakeFusedBands(call.weights(), call.heads(), tokens);
  std::vector<BackwardBand> result;
  for (const int64_t h : call.heads()) {
    const int head = static_cast<int>(h);
    result.push_back(
        {.reach = bands.reach,
         .queries = std::move(bands.heads[h]),
         .keys_before = MakeFusedSide(call.weights().after(head), bands.reach, /*before=*/true),
         .keys_after = MakeFusedSide(call.weights().before(head), bands.reach, /*before=*/false)});
  }
  return result;
}

// W of all heads with rows of whole groups of columns.
std::vector<cpu::AlignedFloats> PaddedProjections(const FusedCall& call) {
  std::vector<cpu::AlignedFloats> padded;
  for (const int64_t h : call.heads()) {
    const cpu::HeadFeatures& features = call.layer()->features(h);
    if (features.projection == nullptr) break;
    const int64_t columns = cpu::PaddedColumns(features.head_dim);
    cpu::AlignedFloats rows(features.features * columns);
    std::fill_n(rows.data(), rows.size(), 0.0f);
    for (int64_t r = 0; r < features.features; ++r) {
      std::copy_n(features.projection + r * features.head_dim, features.head_dim,
                  rows.data() + r * columns);
    }
    padded.push_back(std::move(rows));
  }
  return padded;
}

at::Tensor WithUnitColumns(const at::Tensor& rows) {
  return rows.stride(3) == 1 ? rows : rows.contiguous();
}

}  // namespace

Gradients FusedBackward(const FusedCall& call, const Output& output, const at::Tensor& grad) {
  const Problem& problem = call.problem();
  const int64_t heads = problem.heads();
  const at::Tensor q = WithUnitColumns(problem.q);
  const at::Tensor k = WithUnitColumns(problem.k);
  const at::Tensor v = WithUnitColumns(problem.v);
  const at::Tensor g = WithUnitColumns(grad);
  const at::Tensor z = WithUnitColumns(output.out);
  const at::Tensor denominator = output.denominator;
  Gradients gradients = {.q = at::empty(q.sizes(), q.options()),
                         .k = at::empty(q.sizes(), q.options()),
                         .v = at::empty(q.sizes(), q.options())};
  const std::vector<cpu::AlignedFloats> padded = PaddedProjections(call);
  std::map<int64_t, std::vector<BackwardBand>> bands;
  for (int64_t b = 0; b < problem.batch(); ++b) {
    const int64_t n = call.Length(b);
    for (at::Tensor* const rows : {&gradients.q, &gradients.k, &gradients.v}) {
      rows->select(0, b).slice(0, n).zero_();
    }
    const int64_t tokens = BackwardBandTokens(call, n);
    if (bands.count(tokens) == 0) bands.emplace(tokens, MakeBands(call, tokens));
  }
  std::vector<std::vector<double>> near_grads(problem.batch() * heads,
                                              std::vector<double>(2 * problem.reach() + 1, 0.0));
  at::parallel_for(0, problem.batch() * heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / heads;
      const int64_t h = task % heads;
      const int64_t n = call.Length(b);
      if (n == 0) continue;
      const auto rows = [&](const at::Tensor& tensor) {
        return cpu::StridedRows{
            tensor.const_data_ptr<float>() + b * tensor.stride(0) + h * tensor.stride(2),
            tensor.stride(1)};
      };
      const auto out = [&](const at::Tensor& tensor) {
        return GradRows{tensor.data_ptr<float>() + b * tensor.stride(0) + h * tensor.stride(2),
                        tensor.stride(1)};
      };
      HeadProblem head = {.kernels = &call.layer()->kernels(),
                          .features = call.layer()->features(h),
                          .band = &bands.at(BackwardBandTokens(call, n))[h],
                          .causal = problem.causal,
                          .tokens = n,
                          .q = rows(q),
                          .k = rows(k),
                          .v = rows(v),
                          .z = rows(z),
                          .g = rows(g),
                          .denominators = rows(denominator),
                          .dq = out(gradients.q),
                          .dk = out(gradients.k),
                          .dv = out(gradients.v),
                          .near_grad = &near_grads[task]};
      if (!padded.empty()) head.features.padded = padded[h].data();
      DifferentiateHead(head);
    }
  });
  gradients.near = at::empty(problem.near.sizes(), problem.near.options());
  for (int64_t h = 0; h < heads; ++h) {
    float* const row = gradients.near.data_ptr<float>() + h * (2 * problem.reach() + 1);
    for (int64_t o = 0; o <= 2 * problem.reach(); ++o) {
      double sum = 0;
      for (int64_t b = 0; b < problem.batch(); ++b) sum += near_grads[b * heads + h][o];
      row[o] = static_cast<float>(sum);
    }
  }
  return gradients;
}

}  // namespace longwave::torch_ops
