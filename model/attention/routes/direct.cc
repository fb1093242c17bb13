#include "model/attention/routes/direct.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "model/attention/degenerate_rows.h"
#include "model/attention/phased_pass.h"
#include "model/reference/attention.h"

namespace longwave {
namespace {

constexpr int64_t kRows = 64;
// The reference is plain scalar code in double: one of its operations takes as long as so many of
// the matrix products that the other routes count.
constexpr double kScalarFlops = 60;

double PieceCost(const AttentionShape& shape, int64_t n) {
  const double m = static_cast<double>(shape.features);
  const double d = static_cast<double>(shape.head_dim);
  const double rows = static_cast<double>(std::min(kRows, n));
  return kScalarFlops * static_cast<double>(n) * (2 * m * d + 2 * rows * (2 * m + d));
}

class DirectPass final : public PhasedPass {
 public:
  explicit DirectPass(RouteContext context) : context_(std::move(context)) {
    const int64_t ranges = (context_.tokens() + kRows - 1) / kRows;
    AddPhase(context_.head_count() * ranges, PieceCost(context_.layer->shape, context_.tokens()),
             [this, ranges](int64_t piece) { Compute(piece / ranges, piece % ranges * kRows); });
  }
  absl::Status status() const override { return degenerate_.status(); }
  int64_t ResidentBytes() const override { return 0; }

 private:
  void Compute(int64_t head_index, int64_t first_row);

  const RouteContext context_;
  DegenerateRows degenerate_;
};

void DirectPass::Compute(int64_t head_index, int64_t first_row) {
  const int head = static_cast<int>(context_.heads[head_index]);
  const int64_t n = context_.tokens();
  const int64_t rows = std::min(kRows, n - first_row);
  const auto on_host = [&](const at::Tensor& tensor) {
    return tensor.select(1, head).to(at::TensorOptions(at::kCPU).dtype(at::kDouble)).contiguous();
  };
  const at::Tensor k = on_host(context_.k);
  const at::Tensor v = on_host(context_.v);
  // Only this piece's queries: `out` may be q's memory, and other pieces write their rows
  // meanwhile.
  at::Tensor q = at::zeros_like(k);
  q.narrow(0, first_row, rows).copy_(context_.q.narrow(0, first_row, rows).select(1, head));
  const auto span = [](const at::Tensor& tensor) {
    return absl::MakeConstSpan(tensor.const_data_ptr<double>(), tensor.numel());
  };
  const ReferenceHead reference = {.tokens = n,
                                   .head_dim = k.size(1),
                                   .q = span(q),
                                   .k = span(k),
                                   .v = span(v),
                                   .projection = context_.layer->features.projection(head)};
  const ToeplitzWeights& weights = context_.layer->weights;
  const ReferenceRows result = ReferenceAttention(
      reference, context_.layer->config, [&](int64_t offset) { return weights.Log(head, offset); },
      first_row, first_row + rows);
  int64_t cancelled = 0;
  for (int64_t r = 0; r < rows; ++r) {
    if (std::abs(result.denominators[r]) < DegenerateRows::kThreshold * result.magnitudes[r]) {
      ++cancelled;
    }
  }
  degenerate_.Add(cancelled);
  context_.out.narrow(0, first_row, rows)
      .select(1, head)
      .copy_(at::tensor(result.values, at::kDouble).view({rows, k.size(1)}));
}

}  // namespace

std::unique_ptr<AttentionPass> MakeDirectPass(RouteContext context) {
  return std::make_unique<DirectPass>(std::move(context));
}

AttentionCost DirectCost(const AttentionShape& shape, int64_t n) {
  const double piece = PieceCost(shape, n);
  return {.flops = piece * static_cast<double>(shape.heads * ((n + kRows - 1) / kRows)),
          .bytes = 0,
          .largest_piece_flops = piece};
}

}  // namespace longwave
