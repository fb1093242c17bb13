#include "model/attention/routes/exact_rows.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "model/attention/rows.h"

namespace longwave {
namespace {

constexpr int64_t kKeys = 4096;  // at a time
// A double in a matrix product takes as long as two floats.
constexpr double kDoubleFlops = 2;

}  // namespace

int64_t ComputeExactRows(const RouteContext& context, int64_t head, absl::Span<const int64_t> rows,
                         absl::Span<const double> c, const at::Tensor& key_maximum) {
  const int64_t n = context.tokens();
  const int64_t count = static_cast<int64_t>(rows.size());
  const std::vector<int64_t> heads = {context.heads[head]};
  const BoundFeatures features = context.layer->features.Bind(heads, at::kDouble);
  const at::TensorOptions options = context.q.options().dtype(at::kDouble);
  const at::Tensor index =
      at::tensor(at::ArrayRef<int64_t>(rows.data(), rows.size()), at::kLong).to(options.device());
  const at::Tensor weights =
      at::tensor(at::ArrayRef<double>(c.data(), c.size()), at::kDouble).to(options.device());
  const at::Tensor q =
      at::index_select(context.q.select(1, heads.front()), 0, index).to(at::kDouble);
  const at::Tensor queries = features.Queries(q.unsqueeze(0)).select(0, 0);
  const at::Tensor maximum =
      key_maximum.defined() ? key_maximum.to(at::kDouble).view({1, 1, 1}) : key_maximum;
  at::Tensor sums = at::zeros({count, context.v.size(2) + 1}, options);
  for (int64_t first = 0; first < n; first += kKeys) {
    const RowRange range = PaddedRange(first, std::min(first + kKeys, n));
    const auto gather = [&](auto how, const at::Tensor& source) {
      return how(source, heads, range, at::kDouble).select(0, 0).narrow(0, 0, range.count);
    };
    const at::Tensor keys =
        features.Keys(gather(GatherRows, context.k).unsqueeze(0), maximum).select(0, 0);
    const at::Tensor scores = at::mm(queries, keys.t());
    for (int64_t r = 0; r < count; ++r) {
      scores.select(0, r).mul_(weights.narrow(0, n - 1 + first - rows[r], range.count));
    }
    sums.addmm_(scores, gather(GatherValues, context.v));
  }
  const int64_t d = context.v.size(2);
  const at::Tensor z = sums.narrow(1, 0, d) / sums.narrow(1, d, 1);
  for (int64_t r = 0; r < count; ++r) {
    context.out.select(0, rows[r]).select(0, heads.front()).copy_(z.select(0, r));
  }
  return NonFiniteRows(z);
}

int64_t NonFiniteRows(const at::Tensor& z) {
  // A sum over a row is finite only if its numbers are.
  const at::Tensor sums = at::sum(z.abs(), {-1});
  return sums.numel() - at::sum(at::isfinite(sums)).item<int64_t>();
}

double ExactRowsFlops(const AttentionShape& shape, int64_t rows, int64_t n) {
  const double m = static_cast<double>(shape.features);
  const double d = static_cast<double>(shape.head_dim);
  return kDoubleFlops * static_cast<double>(n) *
         (2 * m * d + 2 * static_cast<double>(rows) * (m + d + 1));
}

}  // namespace longwave
