#include "model/attention/routes/fft_layout.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "model/attention/phased_pass.h"
#include "model/attention/routes/exact_rows.h"
#include "model/attention/routes/fft.h"
#include "model/kernels/cpu/toeplitz_transform.h"

namespace longwave {
namespace {

// What the groups of heads and features are cut by. One head always fits. At 64 k tokens a group
// has three heads.
constexpr int64_t kWorkspaceBytes = int64_t{256} << 20;
constexpr int64_t kMostRows = 4096;  // of one piece that gathers or scatters
constexpr int64_t kLeastRows = 256;

// Nanoseconds a token, of one thread (Zen 5): an exponential in double with the way to its bias;
// transforms in double, and placing what they yield; tables.
constexpr double kWeightNanoseconds = 20;
constexpr double kKernelNanoseconds = 25;
constexpr double kTableNanoseconds = 40;
// The same of a number of phi, and of one of v or of the sums, gathered and turned into columns.
constexpr double kFeatureNanoseconds = 6;
constexpr double kColumnNanoseconds = 5;
// Operations of a matrix product in the meantime.
constexpr double kFlopsPerNanosecond = 120;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

FftLayout MakeFftLayout(const AttentionShape& shape, int64_t heads, int64_t n,
                        at::ScalarType type) {
  const int64_t element = type == at::kDouble ? 8 : 4;
  FftLayout layout;
  layout.n = n;
  layout.length = cpu::TransformLength(n);
  layout.columns = shape.head_dim + 1;
  layout.pairs = CeilDiv(layout.columns, 2);

  const int64_t row_bytes = layout.length * element;
  layout.features_per_group =
      std::clamp<int64_t>(kWorkspaceBytes / 4 / (2 * row_bytes), 1, shape.features);
  // Values and sums, kernels, phi, c.
  const int64_t head_bytes =
      row_bytes * (4 * layout.pairs + 4 + 2 * layout.features_per_group) + 8 * (2 * n - 1);
  layout.heads_per_group = std::clamp<int64_t>(kWorkspaceBytes / head_bytes, 1, heads);
  layout.bytes = layout.heads_per_group * head_bytes;

  const double slower = type == at::kDouble ? 2 : 1;
  const double map_row =
      slower * kFlopsPerNanosecond * kFeatureNanoseconds *
      static_cast<double>(layout.heads_per_group * 2 * layout.features_per_group);
  const double moved_row = slower * kFlopsPerNanosecond * kColumnNanoseconds *
                           static_cast<double>(layout.heads_per_group * layout.columns);
  // Whole vectors of the columns.
  layout.rows_per_piece = std::clamp<int64_t>(
      static_cast<int64_t>(kPieceFlops / std::max(map_row, moved_row)) / 64 * 64, kLeastRows,
      kMostRows);
  const double rows = static_cast<double>(std::min(layout.rows_per_piece, n));
  layout.map_flops = rows * map_row;
  layout.moved_flops = rows * moved_row;

  const double tokens = static_cast<double>(n);
  layout.pair_flops =
      2 * tokens *
      TransformFlops(shape.device, type == at::kDouble ? Precision::kFp64 : Precision::kFp32, n);
  layout.features_per_phase = std::clamp<int64_t>(
      static_cast<int64_t>(kPieceFlops / layout.pair_flops), 1, layout.features_per_group);
  const double length_flops = kFlopsPerNanosecond * static_cast<double>(layout.length);
  layout.table_flops = kTableNanoseconds * length_flops;
  layout.kernel_flops = kKernelNanoseconds * length_flops;
  layout.weight_flops = kFlopsPerNanosecond * kWeightNanoseconds *
                        static_cast<double>(std::min(2 * n - 1, kFftOffsets));
  layout.exact_flops = ExactRowsFlops(shape, kFftExactRows, n);
  return layout;
}

AttentionCost FftCost(const AttentionShape& shape, int64_t heads, int64_t n, at::ScalarType type) {
  const FftLayout layout = MakeFftLayout(shape, heads, n, type);
  AttentionCost cost;
  const double head_flops = layout.pair_flops * static_cast<double>(layout.pairs * shape.features) +
                            layout.weight_flops * static_cast<double>(layout.offset_pieces()) +
                            2 * layout.kernel_flops;
  // Rows are moved in groups of heads.
  const double groups = static_cast<double>(CeilDiv(heads, layout.heads_per_group));
  const double feature_groups =
      static_cast<double>(CeilDiv(shape.features, layout.features_per_group));
  const double group_flops = static_cast<double>(layout.row_pieces()) *
                             (feature_groups * layout.map_flops + 2 * layout.moved_flops);
  cost.flops = static_cast<double>(heads) * head_flops + groups * group_flops + layout.table_flops;
  cost.largest_piece_flops = std::max(
      {layout.pair_flops * static_cast<double>(layout.features_per_phase), layout.table_flops,
       layout.weight_flops, layout.kernel_flops, layout.map_flops, layout.moved_flops});
  cost.bytes = layout.bytes;
  return cost;
}

}  // namespace longwave
