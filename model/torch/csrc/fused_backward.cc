#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

#include "model/kernels/cpu/aligned_floats.h"
#include "model/torch/csrc/fused_call.h"
#include "model/torch/csrc/head_backward.h"
#include "model/torch/csrc/parallel_tasks.h"

namespace longwave::torch_ops {
namespace {

// K for a sequence of n tokens: that of b's own shape, so that every offset up to R has a
// derivative of its own; or all of n, where states would cost more than the keys that they stand
// for.
int64_t BandTokens(const FusedCall& call, int64_t n) {
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

// One head of one sequence of [batch, n, heads, ...].
cpu::StridedRows Rows(const at::Tensor& tensor, int64_t b, int64_t h) {
  return {tensor.const_data_ptr<float>() + b * tensor.stride(0) + h * tensor.stride(2),
          tensor.stride(1)};
}

GradRows WritableRows(const at::Tensor& tensor, int64_t b, int64_t h) {
  return {tensor.data_ptr<float>() + b * tensor.stride(0) + h * tensor.stride(2), tensor.stride(1)};
}

class BackwardPass {
 public:
  BackwardPass(const FusedCall& call, const Output& output, const at::Tensor& grad)
      : call_(call),
        q_(WithUnitColumns(call.problem().q)),
        k_(WithUnitColumns(call.problem().k)),
        v_(WithUnitColumns(call.problem().v)),
        z_(WithUnitColumns(output.out)),
        g_(WithUnitColumns(grad)),
        denominator_(output.denominator.contiguous()),
        padded_(PaddedProjections(call)) {
    const Problem& problem = call.problem();
    for (at::Tensor* const rows : {&gradients_.q, &gradients_.k, &gradients_.v}) {
      *rows = at::empty(problem.q.sizes(), problem.q.options());
      for (int64_t b = 0; b < problem.batch(); ++b) {
        rows->select(0, b).slice(0, call.Length(b)).zero_();
      }
    }
    for (int64_t b = 0; b < problem.batch(); ++b) {
      const int64_t tokens = BandTokens(call, call.Length(b));
      if (bands_.count(tokens) == 0) bands_.emplace(tokens, MakeBands(call, tokens));
    }
  }

  Gradients Run() {
    const int64_t heads = call_.problem().heads();
    const int64_t tasks = call_.problem().batch() * heads;
    near_grads_.assign(tasks, std::vector<double>(call_.problem().near.size(1), 0.0));
    // The longest first, so that none is left for the end.
    std::vector<int64_t> order(tasks);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return call_.Length(a / heads) > call_.Length(b / heads);
    });
    ParallelTasks(tasks, [&](int64_t i) { RunHead(order[i] / heads, order[i] % heads); });
    gradients_.near = NearGrad();
    return gradients_;
  }

 private:
  void RunHead(int64_t b, int64_t h) {
    const int64_t n = call_.Length(b);
    if (n == 0) return;
    HeadProblem head = {.kernels = &call_.layer()->kernels(),
                        .features = call_.layer()->features(h),
                        .band = &bands_.at(BandTokens(call_, n))[h],
                        .causal = call_.problem().causal,
                        .tokens = n,
                        .q = Rows(q_, b, h),
                        .k = Rows(k_, b, h),
                        .v = Rows(v_, b, h),
                        .z = Rows(z_, b, h),
                        .g = Rows(g_, b, h),
                        .denominators = Rows(denominator_, b, h),
                        .dq = WritableRows(gradients_.q, b, h),
                        .dk = WritableRows(gradients_.k, b, h),
                        .dv = WritableRows(gradients_.v, b, h),
                        .near_grad = &near_grads_[b * call_.problem().heads() + h]};
    if (!padded_.empty()) head.features.padded = padded_[h].data();
    DifferentiateHead(head);
  }

  // The sum over the batch, in its order.
  at::Tensor NearGrad() const {
    const Problem& problem = call_.problem();
    at::Tensor grad = at::empty(problem.near.sizes(), problem.near.options());
    float* out = grad.data_ptr<float>();
    for (int64_t h = 0; h < problem.heads(); ++h) {
      for (int64_t o = 0; o < problem.near.size(1); ++o) {
        double sum = 0;
        for (int64_t b = 0; b < problem.batch(); ++b) {
          sum += near_grads_[b * problem.heads() + h][o];
        }
        *out++ = static_cast<float>(sum);
      }
    }
    return grad;
  }

  const FusedCall& call_;
  const at::Tensor q_, k_, v_, z_, g_, denominator_;
  const std::vector<cpu::AlignedFloats> padded_;
  std::map<int64_t, std::vector<BackwardBand>> bands_;  // by K
  std::vector<std::vector<double>> near_grads_;         // [batch heads][2 R + 1]
  Gradients gradients_;
};

}  // namespace

Gradients FusedBackward(const FusedCall& call, const Output& output, const at::Tensor& grad) {
  return BackwardPass(call, output, grad).Run();
}

}  // namespace longwave::torch_ops
