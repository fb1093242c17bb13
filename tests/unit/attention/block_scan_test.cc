#include "model/attention/routes/block_scan.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <cmath>

#include "gtest/gtest.h"

namespace longwave {
namespace {

// The definition, in double.
at::Tensor Defined(const at::Tensor& from, double decay, bool forward) {
  at::Tensor to = at::zeros(from.sizes(), at::kDouble);
  for (int64_t j = 0; j < from.size(0); ++j) {
    for (int64_t i = 0; i < from.size(0); ++i) {
      const int64_t distance = forward ? j - i : i - j;
      if (distance >= 0) to[j].add_(from[i].to(at::kDouble), std::pow(decay, distance));
    }
  }
  return to;
}

double Largest(const at::Tensor& difference) { return at::max(difference.abs()).item<double>(); }

TEST(BlockScanTest, SumsAreThoseOfTheDefinition) {
  const c10::InferenceMode inference;
  for (const int64_t blocks : {1, 2, 13, 64}) {
    for (const double decay : {1.0, 0.9, 1e-30}) {
      const at::Tensor from = at::rand({blocks, 40}, at::kFloat);
      at::Tensor forward = at::empty_like(from);
      at::Tensor backward = at::empty_like(from);
      ScanForward(from, decay, forward);
      ScanBackward(from, decay, backward);
      // Sums in double, rounded once: half a unit in the last place of at most `blocks`.
      const double tolerance = 0x1p-24 * static_cast<double>(blocks);
      EXPECT_LE(Largest(forward - Defined(from, decay, true)), tolerance);
      EXPECT_LE(Largest(backward - Defined(from, decay, false)), tolerance);
      at::Tensor doubling = at::empty({blocks, 40}, at::kDouble);
      ScanForwardByDoubling(from, decay, doubling);
      EXPECT_LE(Largest(doubling - Defined(from, decay, true)), 1e-12);
    }
  }
}

TEST(BlockScanTest, WorksInPlaceOnColumnsOfALargerTensor) {
  const c10::InferenceMode inference;
  const at::Tensor states = at::rand({20, 96}, at::kDouble);
  const at::Tensor before = states.clone();
  at::Tensor columns = states.narrow(1, 32, 32);
  ScanForward(columns, 0.5, columns);
  EXPECT_LE(Largest(columns - Defined(before.narrow(1, 32, 32), 0.5, true)), 1e-14);
  EXPECT_TRUE(at::equal(states.narrow(1, 0, 32), before.narrow(1, 0, 32)));
  EXPECT_TRUE(at::equal(states.narrow(1, 64, 32), before.narrow(1, 64, 32)));
}

}  // namespace
}  // namespace longwave
