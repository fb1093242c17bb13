#ifndef LONGWAVE_TESTS_BENCH_WORKLOAD_H_
#define LONGWAVE_TESTS_BENCH_WORKLOAD_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/attention/attention.h"
#include "model/base/compute_pool.h"
#include "model/weights/model_folder.h"
#include "tests/bench/attention_peers.h"
#include "tests/bench/bench_options.h"

namespace longwave {

// Relative error above which a time is void: 1e-5, the bound of fp32 routes, times the slack that
// sums over a million tokens may take.
inline constexpr double kLargestError = 1e-4;

// 64 rows (all, if there are fewer): first, last, edges of blocks, and seeded ones. Ascending.
std::vector<int64_t> SampledRows(int64_t n, uint64_t seed);

// One sequence for the attention of one layer, and the rows that are compared with double: all up
// to 4096 tokens, above that 64, among them the first, the last and edges of blocks.
struct Workload {
  BenchOptions options;
  ModelFolder model;
  std::shared_ptr<const Attention> attention;  // shared by the parts of a ragged batch
  at::Tensor q, k, v, out;                     // [n, H, d]
  std::vector<std::vector<double>> bias;       // per head, offsets -(n-1) .. n-1
  std::vector<int64_t> rows;

  std::string ReferenceText() const;
  PeerInput Peers() const;
  // Of tokens and heads: what costs are counted by.
  double TokenHeads() const { return static_cast<double>(options.tokens * options.heads); }
};

// Tokens [first, first + n) as a sequence of their own, on the same memory.
Workload PartOf(const Workload& whole, int64_t first, int64_t n);

// q, k and v depend on seed and shape alone, not on the bias.
absl::StatusOr<Workload> MakeWorkload(const BenchOptions& options);

// [n, H, d] of N(0, 1).
at::Tensor RandomRows(const BenchOptions& options, uint64_t seed);

// The compared rows in double, per head [row, d]; kSoftmax: of softmax attention, without the bias
// if `with_bias` is false.
using ExpectedRows = std::vector<std::vector<double>>;
ExpectedRows Expected(const Workload& load, FeatureKind features, bool with_bias,
                      ComputePool* pool);

// Largest |difference| of the compared rows over max |v|; not a number if one is.
double WorstError(const at::Tensor& output, const Workload& load, const ExpectedRows& expected);

// Largest |difference| of the compared rows over what a certificate allows it to be, component by
// component: bound * sum over j of w_ij |v_j - z_i|, w being the attention's weights.
double WorstOverBound(const at::Tensor& output, const Workload& load, const ExpectedRows& expected,
                      double bound);

// One pass into load.out.
void RunPass(const Workload& load, Route route, ComputePool* pool);

// The passes of a ragged batch side by side: phase by phase, the pieces of all of them in one list.
void RunPasses(absl::Span<const std::unique_ptr<AttentionPass>> passes, ComputePool* pool);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_WORKLOAD_H_
