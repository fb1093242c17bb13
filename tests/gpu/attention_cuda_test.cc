// Every route on the device against the double reference, and its promises about bits.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/attention/attention.h"
#include "tests/gpu/device_fixture.h"
#include "tests/property/attention_cases.h"

namespace longwave {
namespace {

constexpr int64_t kTable = 4096;

AttentionInput ToDevice(const AttentionInput& input) {
  return {.q = input.q.to(at::kCUDA), .k = input.k.to(at::kCUDA), .v = input.v.to(at::kCUDA)};
}

std::vector<AttentionCase> Cases() {
  std::vector<AttentionCase> cases;
  const auto noise = [](int64_t head, int64_t column) {
    return std::sin(12.9898 * static_cast<double>(column) + 78.233 * static_cast<double>(head));
  };
  for (const bool causal : {false, true}) {
    for (const bool qk_norm : {true, false}) {
      AttentionConfig attention;
      attention.causal = causal;
      attention.qk_norm = qk_norm;
      for (const BiasKind kind : {BiasKind::kNone, BiasKind::kT5, BiasKind::kAlibi}) {
        attention.bias = {.kind = kind};
        cases.push_back(MakeCase({.name = "structured", .attention = attention}));
      }
      attention.bias = {.kind = BiasKind::kTable, .table_length = kTable};
      cases.push_back(
          MakeCase({.name = "table", .attention = attention, .max_tokens = kTable, .bias = noise}));
    }
  }
  return cases;
}

class AttentionCudaTest : public DeviceTest {
 protected:
  static std::unique_ptr<const Attention> Make(const AttentionCase& which) {
    auto attention = CreateAttention(which.config, which.weights, 0, "cuda:0");
    EXPECT_TRUE(attention.ok()) << attention.status();
    return *std::move(attention);
  }
  static std::vector<Route> Routes(const Attention& attention, int64_t n) {
    std::vector<Route> routes = {Route::kAuto};
    for (const Route route : {Route::kTiles, Route::kChunkwise, Route::kFft}) {
      if (attention.Check(n, route).ok()) routes.push_back(route);
    }
    return routes;
  }
  static Route Resolve(const Attention& attention, Route route, int64_t n) {
    return route == Route::kAuto ? attention.Plan(n) : route;
  }

 private:
  const c10::InferenceMode inference_;
};

// fp32 features and sums, and a transform that the guard took: fp32 if 2^-24 of the ratio of row
// sums is at most 1e-6, of which measured errors are at most 8 times.
TEST_F(AttentionCudaTest, RoutesAgreeWithTheReference) {
  for (const AttentionCase& which : Cases()) {
    const auto attention = Make(which);
    for (const int64_t n : {1, 2, 63, 129, 1000, 4096}) {
      const AttentionInput input = RandomInput(which.config, n, 100 + n);
      const AttentionInput device_input = ToDevice(input);
      const std::vector<int64_t> rows = SampledRows(n);
      const at::Tensor expected = ReferenceOutput(which, input, rows);
      for (const Route route : Routes(*attention, n)) {
        const at::Tensor actual =
            RunRoute(*attention, Resolve(*attention, route, n), device_input).to(at::kCPU);
        EXPECT_LT(RelativeError(RowsOf(actual, rows), expected, input), 2e-5)
            << which.name << " " << RouteName(route) << " n = " << n;
      }
    }
  }
}

TEST_F(AttentionCudaTest, ASecondRunGivesTheSameBits) {
  for (const AttentionCase& which : Cases()) {
    const auto first = Make(which);
    const auto second = Make(which);
    const AttentionInput input = ToDevice(RandomInput(which.config, 3000, 1));
    for (const Route route : Routes(*first, 3000)) {
      const Route resolved = Resolve(*first, route, 3000);
      const at::Tensor once = RunRoute(*first, resolved, input);
      EXPECT_TRUE(at::equal(once, RunRoute(*first, resolved, input))) << RouteName(route);
      EXPECT_TRUE(at::equal(once, RunRoute(*second, resolved, input))) << RouteName(route);
    }
  }
}

TEST_F(AttentionCudaTest, BitsDoNotDependOnWhereTheSequenceLies) {
  for (const AttentionCase& which : Cases()) {
    const auto attention = Make(which);
    const AttentionInput input = ToDevice(RandomInput(which.config, 700, 2));
    const at::Tensor fused = at::randn({750, 3, 2, 16}, input.q.options());
    const at::Tensor rows = fused.narrow(0, 13, 700);
    rows.select(1, 0).copy_(input.q);
    rows.select(1, 1).copy_(input.k);
    rows.select(1, 2).copy_(input.v);
    for (const Route route : Routes(*attention, 700)) {
      const Route resolved = Resolve(*attention, route, 700);
      const at::Tensor apart = RunRoute(*attention, resolved, input);
      rows.select(1, 0).copy_(input.q);
      RunAll(*attention->Begin(resolved, rows.select(1, 0), rows.select(1, 1), rows.select(1, 2),
                               rows.select(1, 0)));
      EXPECT_TRUE(at::equal(rows.select(1, 0), apart)) << RouteName(route);
    }
  }
}

}  // namespace
}  // namespace longwave
