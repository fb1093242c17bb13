#include "model/attention/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/base/compute_pool.h"
#include "model/base/error.h"
#include "tests/property/attention_cases.h"

namespace longwave {
namespace {

using AttentionPtr = std::unique_ptr<const Attention>;

// What the encoder does around every piece.
void PrepareThread() { at::set_num_threads(1); }

class AttentionTest : public ::testing::Test {
 protected:
  AttentionTest() { PrepareThread(); }

  // A layer that every route can serve: T5 buckets; or one whose two heads need different
  // precisions of the FFT.
  static AttentionCase T5(bool qk_norm = true) {
    AttentionConfig attention;
    attention.qk_norm = qk_norm;
    attention.bias.kind = BiasKind::kT5;
    return MakeCase({.name = "t5", .attention = attention});
  }
  static AttentionCase TwoPrecisions(double height = 15) {
    AttentionConfig attention;
    attention.bias = {.kind = BiasKind::kTable, .table_length = 1500};
    const auto peak = [=](int64_t head, int64_t column) {
      return head == 1 && column == 1499 + 3 ? height : 0.0;
    };
    return MakeCase({.name = "two", .attention = attention, .max_tokens = 1500, .bias = peak});
  }
  // Buckets that reach further than any sequence, by prefix sums; and smooth weights, interpolated.
  static AttentionCase FarBuckets() {
    AttentionConfig attention;
    attention.bias = {.kind = BiasKind::kT5, .max_distance = 65536};
    return MakeCase({.name = "far", .attention = attention});
  }
  static AttentionCase Smooth() {
    AttentionConfig attention;
    attention.bias = {.kind = BiasKind::kTable, .table_length = 1500};
    attention.interpolation_error = 1e-3;
    const auto power = [](int64_t head, int64_t column) {
      return -std::log1p(std::abs(static_cast<double>(column - 1499))) /
             static_cast<double>(1 + head);
    };
    return MakeCase({.name = "smooth", .attention = attention, .max_tokens = 1500, .bias = power});
  }
  static AttentionPtr Make(const AttentionCase& which) {
    auto attention = CreateAttention(which.config, which.weights, 0, "cpu");
    EXPECT_TRUE(attention.ok()) << attention.status();
    return *std::move(attention);
  }
  static std::vector<Route> Routes(const Attention& attention, int64_t n) {
    std::vector<Route> routes;
    for (const Route route :
         {Route::kDirect, Route::kTiles, Route::kChunkwise, Route::kFft, Route::kInterpolation}) {
      if (attention.Check(n, route).ok()) routes.push_back(route);
    }
    return routes;
  }

 private:
  const c10::InferenceMode inference_;
};

TEST_F(AttentionTest, BitsDoNotDependOnTheOrderOfPieces) {
  for (const AttentionCase& which :
       {T5(), T5(/*qk_norm=*/false), TwoPrecisions(), TwoPrecisions(40), FarBuckets(), Smooth()}) {
    const AttentionPtr attention = Make(which);
    const AttentionInput input = RandomInput(which.config, 1500, 1);
    for (const Route route : Routes(*attention, 1500)) {
      const at::Tensor forwards = RunRoute(*attention, route, input);
      at::Tensor backwards = at::empty_like(forwards);
      RunAll(*attention->Begin(route, input.q, input.k, input.v, backwards), /*backwards=*/true);
      EXPECT_TRUE(at::equal(forwards, backwards)) << which.name << " " << RouteName(route);
    }
  }
}

TEST_F(AttentionTest, BitsDoNotDependOnThreads) {
  ComputePool pool(3, PrepareThread);
  for (const AttentionCase& which :
       {T5(/*qk_norm=*/false), TwoPrecisions(), FarBuckets(), Smooth()}) {
    const AttentionPtr attention = Make(which);
    const AttentionInput input = RandomInput(which.config, 1500, 2);
    for (const Route route : Routes(*attention, 1500)) {
      at::Tensor parallel = at::empty_like(input.q);
      const auto pass = attention->Begin(route, input.q, input.k, input.v, parallel);
      for (int phase = 0; phase < pass->phases(); ++phase) {
        pool.ParallelFor(pass->Pieces(phase), [&](int64_t piece, int) {
          const c10::InferenceMode inference;
          pass->Run(phase, piece);
        });
      }
      EXPECT_TRUE(at::equal(RunRoute(*attention, route, input), parallel))
          << which.name << " " << RouteName(route);
    }
  }
}

TEST_F(AttentionTest, BitsDoNotDependOnWhereTheSequenceLies) {
  const AttentionCase which = T5();
  const AttentionPtr attention = Make(which);
  for (const int64_t n : {1, 31, 129, 700}) {
    const AttentionInput input = RandomInput(which.config, n, 3);
    // A fused projection buffer in which other rows come before and after.
    at::Tensor fused = at::randn({n + 50, 3, 2, 16});
    const at::Tensor rows = fused.narrow(0, 13, n);
    rows.select(1, 0).copy_(input.q);
    rows.select(1, 1).copy_(input.k);
    rows.select(1, 2).copy_(input.v);
    const AttentionInput view = {
        .q = rows.select(1, 0), .k = rows.select(1, 1), .v = rows.select(1, 2)};
    for (const Route route : Routes(*attention, n)) {
      at::Tensor out = at::empty_like(input.q);
      RunAll(*attention->Begin(route, view.q, view.k, view.v, out));
      EXPECT_TRUE(at::equal(RunRoute(*attention, route, input), out))
          << RouteName(route) << " n = " << n;
    }
  }
}

TEST_F(AttentionTest, OutMayBeTheMemoryOfQ) {
  for (const AttentionCase& which :
       {T5(), T5(/*qk_norm=*/false), TwoPrecisions(), FarBuckets(), Smooth()}) {
    const AttentionPtr attention = Make(which);
    const AttentionInput input = RandomInput(which.config, 1500, 4);
    for (const Route route : Routes(*attention, 1500)) {
      const at::Tensor apart = RunRoute(*attention, route, input);
      const at::Tensor q = input.q.clone();
      RunAll(*attention->Begin(route, q, input.k, input.v, q));
      EXPECT_TRUE(at::equal(apart, q)) << which.name << " " << RouteName(route);
    }
  }
}

TEST_F(AttentionTest, CountsWhatTheGuardTook) {
  const AttentionPtr attention = Make(TwoPrecisions());
  const AttentionInput input = RandomInput(TwoPrecisions().config, 1500, 5);
  RunRoute(*attention, Route::kFft, input);
  RunRoute(*attention, Route::kTiles, input);
  EXPECT_EQ(attention->Counters().fft_fp32, 1);
  EXPECT_EQ(attention->Counters().fft_fp64, 1);
  EXPECT_EQ(attention->Counters().fft_tiles, 0);
}

TEST_F(AttentionTest, HeadsThatNoTransformServesAreExactInTiles) {
  const AttentionCase which = TwoPrecisions(/*height=*/40);
  const AttentionPtr attention = Make(which);
  const AttentionInput input = RandomInput(which.config, 1500, 7);
  const at::Tensor out = RunRoute(*attention, Route::kFft, input);
  EXPECT_EQ(attention->Counters().fft_fp32, 1);
  EXPECT_EQ(attention->Counters().fft_tiles, 1);
  const std::vector<int64_t> rows = SampledRows(1500);
  EXPECT_LT(RelativeError(RowsOf(out, rows), ReferenceOutput(which, input, rows), input), 1e-5);
}

TEST_F(AttentionTest, CostIsWhatThePassDeclares) {
  for (const AttentionCase& which : {T5(), TwoPrecisions(), FarBuckets(), Smooth()}) {
    const AttentionPtr attention = Make(which);
    for (const int64_t n : {1, 100, 1500}) {
      const AttentionInput input = RandomInput(which.config, n, 6);
      for (const Route route : Routes(*attention, n)) {
        const AttentionCost cost = attention->Cost(n, route);
        at::Tensor out = at::empty_like(input.q);
        const auto pass = attention->Begin(route, input.q, input.k, input.v, out);
        double flops = 0;
        double largest = 0;
        for (int phase = 0; phase < pass->phases(); ++phase) {
          flops += pass->PieceFlops(phase) * static_cast<double>(pass->Pieces(phase));
          largest = std::max(largest, pass->PieceFlops(phase));
        }
        const std::string where =
            which.name + " " + std::string(RouteName(route)) + " n = " + std::to_string(n);
        // Cost leaves out what is small: gathering, keys' maxima.
        EXPECT_NEAR(cost.flops / flops, 1, 0.05) << where;
        EXPECT_NEAR(cost.largest_piece_flops / largest, 1, 1e-9) << where;
        EXPECT_EQ(cost.bytes, pass->ResidentBytes()) << where;
      }
    }
  }
}

// One key, two feature pairs whose cosines are 1 and -1: the denominator is nothing but rounding.
TEST_F(AttentionTest, ReportsDenominatorsThatCancel) {
  AttentionCase which;
  which.config.num_layers = 1;
  which.config.num_heads = 1;
  which.config.head_dim = 2;
  which.config.max_tokens = 16;
  which.config.attention.features = FeatureKind::kTrf;
  which.config.attention.num_features = 2;
  const float pi = static_cast<float>(M_PI);
  which.weights["layers.0.attention.projection"] = {{1, 2, 2}, {0, 0, pi, 0}};
  const AttentionPtr attention = Make(which);
  const at::Tensor q = at::tensor({1.0F, 0.0F}).view({1, 1, 2});
  const at::Tensor k = at::tensor({0.0F, 1.0F}).view({1, 1, 2});
  for (const Route route : {Route::kTiles, Route::kDirect}) {
    at::Tensor out = at::empty_like(q);
    const auto cancelled = attention->Begin(route, q, k, k, out);
    RunAll(*cancelled);
    EXPECT_EQ(GetErrorDetails(cancelled->status()).reason, ErrorReason::kDegenerateDenominator);
    const auto sound = attention->Begin(route, k, k, k, out);
    RunAll(*sound);
    EXPECT_TRUE(sound->status().ok()) << sound->status();
  }
}

TEST_F(AttentionTest, RefusesABiasThatNoArithmeticHolds) {
  AttentionConfig attention;
  attention.bias = {.kind = BiasKind::kClipped, .max_distance = 4};
  const auto spread = [](double height) {
    return [height](int64_t, int64_t column) { return column == 0 ? height : 0.0; };
  };
  const AttentionCase wide =
      MakeCase({.name = "wide", .attention = attention, .bias = spread(100)});
  EXPECT_TRUE(CreateAttention(wide.config, wide.weights, 0, "cpu").ok());
  const AttentionCase wider =
      MakeCase({.name = "wider", .attention = attention, .bias = spread(700)});
  const auto refused = CreateAttention(wider.config, wider.weights, 0, "cpu");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GetErrorDetails(refused.status()).limit, "600");
}

// A row whose largest weight is e^-100 of the layer's would be 0 / 0 in floats.
TEST_F(AttentionTest, RowsFarBelowTheLargestWeightAreExact) {
  AttentionConfig attention;
  attention.bias = {.kind = BiasKind::kClipped, .max_distance = 4};
  const auto bias = [](int64_t, int64_t column) { return column == 0 ? 100.0 : 0.1 * column; };
  const AttentionCase which = MakeCase({.name = "wide", .attention = attention, .bias = bias});
  const AttentionPtr layer = Make(which);
  const AttentionInput input = RandomInput(which.config, 300, 8);
  const at::Tensor expected = ReferenceOutput(which, input, AllRows(300));
  for (const Route route : Routes(*layer, 300)) {
    EXPECT_LT(RelativeError(RunRoute(*layer, route, input), expected, input), 1e-6)
        << RouteName(route);
  }
}

}  // namespace
}  // namespace longwave
