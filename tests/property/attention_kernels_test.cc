// The routes on the CPU's own kernels (and transforms): every instruction set that the machine
// runs, any number of threads, any place in memory, and numbers that have no result.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/attention/attention.h"
#include "model/base/compute_pool.h"
#include "model/base/error.h"
#include "model/kernels/cpu/kernels.h"
#include "tests/property/attention_cases.h"

namespace longwave {
namespace {

constexpr double kTolerance = 1e-5;
constexpr Route kFusedRoutes[] = {Route::kTiles, Route::kChunkwise, Route::kFft,
                                  Route::kInterpolation};

class AttentionKernelsTest : public ::testing::Test {
 protected:
  AttentionKernelsTest() { at::set_num_threads(1); }

  static std::unique_ptr<const Attention> Make(const AttentionCase& which,
                                               absl::string_view kernels = "auto") {
    auto attention = CreateAttention(which.config, which.weights, 0, "cpu", kernels);
    EXPECT_TRUE(attention.ok()) << attention.status();
    return *std::move(attention);
  }

 private:
  const c10::InferenceMode inference_;
};

std::vector<Route> RoutesOf(const Attention& attention, int64_t n) {
  std::vector<Route> routes;
  for (const Route route : kFusedRoutes) {
    if (attention.Check(n, route).ok()) routes.push_back(route);
  }
  return routes;
}

// What a route may err: interpolation by its certificate, with values of both signs.
double ToleranceOf(const Attention& attention, int64_t n, Route route) {
  return kTolerance + 2 * (route == Route::kInterpolation ? attention.ErrorBound(n, route) : 0);
}

// Buckets that grow to a distance of 4000: runs of constant c instead of a tail.
AttentionCase LogBuckets(bool causal) {
  AttentionConfig attention;
  attention.causal = causal;
  attention.bias = {.kind = BiasKind::kT5, .max_distance = 4000};
  return MakeCase({.name = causal ? "buckets causal" : "buckets",
                   .attention = attention,
                   .max_tokens = 6000,
                   .spread = 0.5});
}

// A smooth table, of a model that accepts interpolation.
AttentionCase PowerLaw(bool causal) {
  constexpr int64_t kTable = 6000;
  AttentionConfig attention;
  attention.causal = causal;
  attention.bias = {.kind = BiasKind::kTable, .table_length = kTable};
  attention.interpolation_error = 3e-3;
  const auto bias = [](int64_t head, int64_t column) {
    const double distance = std::abs(static_cast<double>(column - kTable + 1));
    return -0.5 * static_cast<double>(head + 1) * std::log1p(distance);
  };
  return MakeCase({.name = causal ? "power law causal" : "power law",
                   .attention = attention,
                   .max_tokens = kTable,
                   .bias = bias});
}

std::vector<AttentionCase> Cases() {
  std::vector<AttentionCase> cases;
  for (const bool causal : {false, true}) {
    cases.push_back(LogBuckets(causal));
    cases.push_back(PowerLaw(causal));
    for (const BiasConfig& bias : {BiasConfig{},
                                   {.kind = BiasKind::kT5},
                                   {.kind = BiasKind::kClipped, .max_distance = 300},
                                   {.kind = BiasKind::kAlibi},
                                   {.kind = BiasKind::kTable, .table_length = 6000}}) {
      for (const FeatureKind kind : {FeatureKind::kPrf, FeatureKind::kElu}) {
        if (kind == FeatureKind::kElu && bias.kind != BiasKind::kT5) continue;
        AttentionConfig attention;
        attention.features = kind;
        attention.causal = causal;
        attention.bias = bias;
        cases.push_back(MakeCase({.name = "bias " + std::to_string(static_cast<int>(bias.kind)) +
                                          (causal ? " causal" : ""),
                                  .attention = attention,
                                  .max_tokens = 6000,
                                  .spread = 0.5}));
      }
    }
  }
  return cases;
}

// One block and its edges, one range and several (two heads are cut into ranges of 768 tokens).
TEST_F(AttentionKernelsTest, EveryInstructionSetAgreesWithTheReference) {
  for (const AttentionCase& which : Cases()) {
    for (const int64_t n : {1, 2, 16, 17, 47, 48, 49, 97, 500, 769, 1600, 5000}) {
      const AttentionInput input = RandomInput(which.config, n, 10 + n);
      const std::vector<int64_t> rows = SampledRows(n);
      const at::Tensor expected = ReferenceOutput(which, input, rows);
      for (const cpu::Kernels* kernels : cpu::SupportedKernels()) {
        const auto attention = Make(which, kernels->name);
        for (const Route route : RoutesOf(*attention, n)) {
          if (route == Route::kTiles && n > 1600) continue;  // plain code would take minutes
          const at::Tensor out = RunRoute(*attention, route, input);
          EXPECT_LE(RelativeError(RowsOf(out, rows), expected, input),
                    ToleranceOf(*attention, n, route))
              << kernels->name << " " << which.name << " " << RouteName(route) << " n = " << n;
        }
      }
    }
  }
}

// The same bits from 1, 2 and 4 threads, from a pass run backwards, and from rows that lie in the
// middle of a batch with the output in the memory of q.
TEST_F(AttentionKernelsTest, NeitherThreadsNorNeighboursChangeABit) {
  for (const AttentionCase& which : Cases()) {
    const auto attention = Make(which);
    const int64_t heads = which.config.num_heads, d = which.config.head_dim;
    for (const int64_t n : {1, 49, 1601}) {
      const AttentionInput input = RandomInput(which.config, n, 30 + n);
      for (const Route route : RoutesOf(*attention, n)) {
        const at::Tensor expected = RunRoute(*attention, route, input);
        for (const int threads : {1, 2, 4}) {
          ComputePool pool(threads, [] { at::set_num_threads(1); });
          at::Tensor out = at::empty_like(input.q);
          const auto pass = attention->Begin(route, input.q, input.k, input.v, out);
          for (int phase = 0; phase < pass->phases(); ++phase) {
            pool.ParallelFor(pass->Pieces(phase), [&](int64_t piece, int) {
              const c10::InferenceMode inference;
              pass->Run(phase, piece);
            });
          }
          EXPECT_TRUE(at::equal(out, expected)) << which.name << " " << threads << " threads";
        }
        const at::Tensor batch = at::full({n + 70, 3 * heads * d}, 7.0f);
        const auto part = [&](int64_t index) {
          return batch.narrow(0, 33, n).narrow(1, index * heads * d, heads * d).view({n, heads, d});
        };
        part(0).copy_(input.q);
        part(1).copy_(input.k);
        part(2).copy_(input.v);
        const auto pass = attention->Begin(route, part(0), part(1), part(2), part(0));
        RunAll(*pass, /*backwards=*/true);
        EXPECT_TRUE(at::equal(part(0), expected)) << which.name << " in a batch, n = " << n;
      }
    }
  }
}

// A row of zeros has no direction: x^ = 0, so phi is the same for every feature.
TEST_F(AttentionKernelsTest, ZeroQueriesAndKeysHaveTheirDefinedFeatures) {
  AttentionConfig config;
  config.bias.kind = BiasKind::kT5;
  const AttentionCase which = MakeCase({.name = "zero", .attention = config});
  const auto attention = Make(which);
  for (const int64_t n : {1, 100}) {
    AttentionInput input = RandomInput(which.config, n, 50);
    input.q.select(0, n / 2).zero_();
    input.k.select(0, n - 1).zero_();
    input.k.select(0, 0).zero_();
    const at::Tensor expected = ReferenceOutput(which, input, AllRows(n));
    for (const Route route : RoutesOf(*attention, input.tokens())) {
      EXPECT_LE(RelativeError(RunRoute(*attention, route, input), expected, input), kTolerance);
    }
  }
}

// Rows as large and as small as floats go still have a direction.
TEST_F(AttentionKernelsTest, NormsBeyondTheRangeOfSquaresAreExact) {
  AttentionConfig config;
  config.bias.kind = BiasKind::kT5;
  const AttentionCase which = MakeCase({.name = "norms", .attention = config});
  const auto attention = Make(which);
  AttentionInput input = RandomInput(which.config, 60, 51);
  input.q.narrow(0, 0, 20).mul_(1e37);
  input.q.narrow(0, 20, 20).mul_(1e-37);
  input.k.narrow(0, 10, 20).mul_(1e37);
  input.k.narrow(0, 30, 20).mul_(1e-37);
  const at::Tensor expected = ReferenceOutput(which, input, AllRows(60));
  for (const Route route : RoutesOf(*attention, input.tokens())) {
    EXPECT_LE(RelativeError(RunRoute(*attention, route, input), expected, input), kTolerance);
  }
}

// A number that is not finite ends the sequence with a reason; no NaN leaves with an OK.
TEST_F(AttentionKernelsTest, InputsThatAreNotFiniteEndTheSequence) {
  constexpr int64_t kTokens = 900;
  const float infinity = std::numeric_limits<float>::infinity();
  for (const AttentionCase& which : {LogBuckets(false), PowerLaw(false), PowerLaw(true)}) {
    const auto attention = Make(which);
    for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
      for (const int which_input : {0, 1, 2}) {
        for (const Route route : RoutesOf(*attention, kTokens)) {
          AttentionInput input = RandomInput(which.config, kTokens, 52);
          at::Tensor& rows = which_input == 0 ? input.q : which_input == 1 ? input.k : input.v;
          rows.index_put_({at::tensor(150), at::tensor(1), at::tensor(3)}, at::tensor(bad));
          at::Tensor out = at::empty_like(input.q);
          const auto pass = attention->Begin(route, input.q, input.k, input.v, out);
          RunAll(*pass);
          EXPECT_EQ(GetErrorDetails(pass->status()).reason, ErrorReason::kNonFinite)
              << which.name << ": " << bad << " in " << which_input << " " << RouteName(route);
        }
      }
    }
  }
}

// Half a kernel's range (60) and beyond: fp64 takes over; beyond e^600 the layer is refused.
TEST_F(AttentionKernelsTest, BiasesOfAnyRangeAreExactOrRefused) {
  for (const double peak : {50.0, 80.0, 200.0, 599.0, 700.0}) {
    AttentionConfig config;
    config.bias = {.kind = BiasKind::kClipped, .max_distance = 8};
    const auto bias = [&](int64_t, int64_t column) { return column == 3 ? peak : 0.0; };
    const AttentionCase which = MakeCase({.name = "peak", .attention = config, .bias = bias});
    const auto attention = CreateAttention(which.config, which.weights, 0, "cpu");
    if (peak > 600) {
      EXPECT_EQ(attention.status().code(), absl::StatusCode::kInvalidArgument);
      continue;
    }
    ASSERT_TRUE(attention.ok()) << attention.status();
    for (const int64_t n : {1, 3, 300}) {
      const AttentionInput input = RandomInput(which.config, n, 53);
      const at::Tensor expected = ReferenceOutput(which, input, AllRows(n));
      for (const Route route : RoutesOf(**attention, n)) {
        const at::Tensor out = RunRoute(**attention, route, input);
        EXPECT_LE(RelativeError(out, expected, input), kTolerance) << peak << " n = " << n;
      }
    }
  }
}

TEST_F(AttentionKernelsTest, AnUnknownInstructionSetIsRefused) {
  AttentionConfig config;
  const AttentionCase which = MakeCase({.name = "none", .attention = config});
  const auto attention = CreateAttention(which.config, which.weights, 0, "cpu", "mmx");
  EXPECT_EQ(attention.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace longwave
