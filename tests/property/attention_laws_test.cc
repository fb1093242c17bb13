// Laws that hold without a reference, and the long sequences for which a full one is out of reach.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/attention/attention.h"
#include "tests/property/attention_cases.h"

namespace longwave {
namespace {

constexpr double kTolerance = 1e-5;

class AttentionLawsTest : public ::testing::Test {
 protected:
  AttentionLawsTest() { at::set_num_threads(1); }

  static std::unique_ptr<const Attention> Make(const AttentionCase& which) {
    auto attention = CreateAttention(which.config, which.weights, 0, "cpu");
    EXPECT_TRUE(attention.ok()) << attention.status();
    return *std::move(attention);
  }
  static std::vector<Route> FastRoutes(const Attention& attention, int64_t n) {
    std::vector<Route> routes;
    for (const Route route : {Route::kTiles, Route::kChunkwise, Route::kFft}) {
      if (attention.Check(n, route).ok()) routes.push_back(route);
    }
    return routes;
  }
  static AttentionInput Rows(const AttentionInput& input, int64_t first, int64_t count) {
    return {.q = input.q.narrow(0, first, count),
            .k = input.k.narrow(0, first, count),
            .v = input.v.narrow(0, first, count)};
  }
  static AttentionInput Reversed(const AttentionInput& input) {
    return {.q = input.q.flip(0), .k = input.k.flip(0), .v = input.v.flip(0)};
  }

 private:
  const c10::InferenceMode inference_;
};

std::vector<BiasConfig> AllBiases() {
  return {{},
          {.kind = BiasKind::kClipped, .max_distance = 40},
          {.kind = BiasKind::kT5},
          {.kind = BiasKind::kAlibi},
          {.kind = BiasKind::kTable, .table_length = 2048}};
}

// Beyond 8 tokens the weights are e^-60: tokens further from both ends than that do not notice
// what else is in the sequence, and so move with it.
TEST_F(AttentionLawsTest, ShiftedTokensHaveShiftedOutputs) {
  AttentionConfig config;
  config.bias = {.kind = BiasKind::kClipped, .max_distance = 8};
  const auto bias = [](int64_t head, int64_t column) {
    return column == 0 || column == 16 ? -60.0 : 0.3 * std::sin(static_cast<double>(column + head));
  };
  const AttentionCase which = MakeCase({.name = "window", .attention = config, .bias = bias});
  const auto attention = Make(which);
  const AttentionInput all = RandomInput(which.config, 1500, 1);
  for (const int64_t shift : {1, 100, 128, 333}) {
    const int64_t n = 900;
    for (const Route route : FastRoutes(*attention, n)) {
      const at::Tensor whole = RunRoute(*attention, route, all);
      const at::Tensor part = RunRoute(*attention, route, Rows(all, shift, n));
      EXPECT_LE(RelativeError(part.narrow(0, 8, n - 16),
                              whole.narrow(0, shift + 8, n - 16).to(at::kDouble), all),
                kTolerance)
          << RouteName(route) << " shift " << shift;
    }
  }
}

// A sequence read backwards under the mirrored bias gives the same rows backwards: a wrong sign of
// the lag cannot pass.
TEST_F(AttentionLawsTest, ReversedSequencesHaveReversedOutputs) {
  AttentionConfig config;
  config.bias = {.kind = BiasKind::kTable, .table_length = 1000};
  const auto bias = [](int64_t head, int64_t column) {
    return std::sin(0.01 * static_cast<double>(column * (head + 1)));
  };
  const auto mirrored = [&](int64_t head, int64_t column) { return bias(head, 1998 - column); };
  const AttentionCase which =
      MakeCase({.name = "table", .attention = config, .max_tokens = 1000, .bias = bias});
  const auto forwards = Make(which);
  const auto backwards =
      Make(MakeCase({.name = "mirror", .attention = config, .max_tokens = 1000, .bias = mirrored}));
  const AttentionInput input = RandomInput(which.config, 777, 2);
  for (const Route route : FastRoutes(*forwards, 777)) {
    const at::Tensor expected = RunRoute(*forwards, route, input).to(at::kDouble);
    const at::Tensor actual = RunRoute(*backwards, route, Reversed(input)).flip(0);
    EXPECT_LE(RelativeError(actual, expected, input), kTolerance) << RouteName(route);
  }
}

TEST_F(AttentionLawsTest, AConstantInTheBiasChangesNothing) {
  AttentionConfig config;
  config.bias = {.kind = BiasKind::kT5};
  const auto raised = [](double by) {
    return [by](int64_t head, int64_t column) {
      return by + std::sin(static_cast<double>(7 * column + head));
    };
  };
  const AttentionCase which = MakeCase({.name = "t5", .attention = config, .bias = raised(0)});
  const auto low = Make(which);
  const auto high = Make(MakeCase({.name = "t5", .attention = config, .bias = raised(64)}));
  const AttentionInput input = RandomInput(which.config, 1000, 3);
  for (const Route route : FastRoutes(*low, 1000)) {
    const at::Tensor expected = RunRoute(*low, route, input).to(at::kDouble);
    EXPECT_LE(RelativeError(RunRoute(*high, route, input), expected, input), kTolerance)
        << RouteName(route);
  }
}

TEST_F(AttentionLawsTest, CausalPrefixesIgnoreLaterTokens) {
  for (const BiasConfig& bias : AllBiases()) {
    AttentionConfig config;
    config.causal = true;
    config.bias = bias;
    const AttentionCase which =
        MakeCase({.name = "causal", .attention = config, .max_tokens = 2048, .spread = 0.5});
    const auto attention = Make(which);
    const AttentionInput all = RandomInput(which.config, 1400, 4);
    for (const Route route : FastRoutes(*attention, 1400)) {
      const at::Tensor whole = RunRoute(*attention, route, all).to(at::kDouble);
      for (const int64_t n : {1, 127, 129, 1300}) {
        const at::Tensor prefix = RunRoute(*attention, route, Rows(all, 0, n));
        EXPECT_LE(RelativeError(prefix, whole.narrow(0, 0, n), all), kTolerance)
            << static_cast<int>(bias.kind) << " " << RouteName(route) << " n = " << n;
      }
    }
  }
}

// Equal values come out as they went in, whatever the weights: numerator and denominator are sums
// of the same terms.
TEST_F(AttentionLawsTest, WeightsSumToOne) {
  for (const BiasConfig& bias : AllBiases()) {
    AttentionConfig config;
    config.bias = bias;
    const AttentionCase which =
        MakeCase({.name = "one", .attention = config, .max_tokens = 2048, .spread = 0.5});
    const auto attention = Make(which);
    AttentionInput input = RandomInput(which.config, 1111, 5);
    input.v = at::full_like(input.v, 3.0);
    const at::Tensor expected = input.v.to(at::kDouble);
    for (const Route route : FastRoutes(*attention, 1111)) {
      EXPECT_LE(RelativeError(RunRoute(*attention, route, input), expected, input), kTolerance)
          << static_cast<int>(bias.kind) << " " << RouteName(route);
    }
  }
}

class LongSequenceTest : public AttentionLawsTest,
                         public ::testing::WithParamInterface<std::pair<BiasKind, bool>> {};

// 100 000 tokens: 64 rows at both ends, block edges and between, each in double over all keys.
TEST_P(LongSequenceTest, ChunkwiseAgreesWithSampledRows) {
  constexpr int64_t kTokens = 100000;
  AttentionConfig config;
  config.bias.kind = GetParam().first;
  config.causal = GetParam().second;
  const AttentionCase which =
      MakeCase({.name = "long", .attention = config, .max_tokens = kTokens});
  const auto attention = Make(which);
  ASSERT_EQ(attention->Plan(kTokens), Route::kChunkwise);
  const AttentionInput input = RandomInput(which.config, kTokens, 6);
  const at::Tensor out = RunRoute(*attention, Route::kChunkwise, input);
  const std::vector<int64_t> rows = SampledRows(kTokens);
  EXPECT_LE(RelativeError(RowsOf(out, rows), ReferenceOutput(which, input, rows), input),
            kTolerance);
}

INSTANTIATE_TEST_SUITE_P(Biases, LongSequenceTest,
                         ::testing::Values(std::pair{BiasKind::kNone, false},
                                           std::pair{BiasKind::kClipped, true},
                                           std::pair{BiasKind::kT5, false},
                                           std::pair{BiasKind::kAlibi, false}));

// Weights under which interpolation is certified, as a free table of n tokens.
struct SmoothBias {
  std::string name;
  std::function<double(int64_t offset)> b;
};
std::vector<SmoothBias> SmoothBiases() {
  const auto distance = [](int64_t o) { return std::log1p(static_cast<double>(std::abs(o))); };
  return {{"power", [=](int64_t o) { return -0.7 * distance(o); }},
          {"steep power", [=](int64_t o) { return -2 * distance(o); }},
          {"ripple", [=](int64_t o) { return 0.5 * std::sin(2 * distance(o)) + (o < 0 ? 1 : 0); }},
          {"growth", [](int64_t o) { return 0.0005 * static_cast<double>(std::abs(o)); }}};
}

// |z^ - z| <= bound * sum over j of w_j |v_j - z| holds for each output. Values are 1 at a few keys
// and 0 elsewhere, so that z is their weights' sum, the right-hand side is bound * 2 z (1 - z), and
// no cancellation of random values hides an error.
TEST_F(AttentionLawsTest, InterpolationStaysWithinItsCertificate) {
  constexpr double kRounding = 2e-6;  // of fp32 sums whose terms have both signs
  for (const SmoothBias& smooth : SmoothBiases()) {
    for (const bool causal : {false, true}) {
      const int64_t n = 4501;
      AttentionConfig config;
      config.causal = causal;
      config.interpolation_error = 3e-3;
      config.bias = {.kind = BiasKind::kTable, .table_length = n};
      const AttentionCase which =
          MakeCase({.name = smooth.name,
                    .attention = config,
                    .max_tokens = n,
                    .bias = [&](int64_t head, int64_t column) {
                      return smooth.b(column - n + 1) * (head == 0 ? 1 : 0.8);
                    }});
      const auto attention = Make(which);
      for (const int64_t tokens : {int64_t{1}, int64_t{256}, int64_t{385}, n}) {
        ASSERT_TRUE(attention->Check(tokens, Route::kInterpolation).ok())
            << attention->Check(tokens, Route::kInterpolation);
        const double bound = attention->ErrorBound(tokens, Route::kInterpolation);
        AttentionInput input = RandomInput(which.config, tokens, 9);
        input.v.zero_();
        for (int64_t c = 0; c < 16; ++c) {
          for (int64_t j = c * 7; j < tokens; j += 16 + 53 * c) input.v.select(2, c)[j].fill_(1);
        }
        const at::Tensor out = RunRoute(*attention, Route::kInterpolation, input);
        const std::vector<int64_t> rows = SampledRows(tokens);
        const at::Tensor z = ReferenceOutput(which, input, rows);
        const at::Tensor error = (RowsOf(out, rows).to(at::kDouble) - z).abs();
        const at::Tensor allowed = 2 * bound * z * (1 - z) + kRounding;
        EXPECT_TRUE(at::all(error.le(allowed)).item<bool>())
            << smooth.name << (causal ? " causal" : "") << " " << tokens << ": "
            << at::max(error / allowed).item<double>() << " of what is allowed";
      }
    }
  }
}

TEST_F(AttentionLawsTest, InterpolationIsNotToBeHadUnasked) {
  AttentionConfig config;
  config.bias = {.kind = BiasKind::kTable, .table_length = 9000};
  const auto power = [](int64_t, int64_t column) {
    return -std::log1p(std::abs(static_cast<double>(column - 8999)));
  };
  const CaseSpec spec = {.name = "power", .attention = config, .max_tokens = 9000, .bias = power};
  const auto unasked = Make(MakeCase(spec));
  EXPECT_FALSE(unasked->Check(9000, Route::kInterpolation).ok());
  EXPECT_NE(unasked->Plan(9000), Route::kInterpolation);
  EXPECT_EQ(unasked->ErrorBound(9000, Route::kAuto), 0);
  CaseSpec asking = spec;
  asking.attention.interpolation_error = 1e-3;
  const auto asked = Make(MakeCase(asking));
  EXPECT_EQ(asked->Plan(9000), Route::kInterpolation);
  EXPECT_LE(asked->ErrorBound(9000, Route::kAuto), 1e-3 / (1 - 1e-3));
  EXPECT_GT(asked->ErrorBound(9000, Route::kAuto), 0);
  // What is not smooth is refused with a reason, and planned as ever.
  asking.bias = [](int64_t head, int64_t column) {
    return std::sin(13.0 * static_cast<double>(column + head));
  };
  const auto refused = Make(MakeCase(asking));
  EXPECT_THAT(std::string(refused->Check(9000, Route::kInterpolation).message()),
              ::testing::HasSubstr("head 0"));
  EXPECT_NE(refused->Plan(9000), Route::kInterpolation);
}

// Buckets that reach 65536, and one short run far away that outweighs all else by e^9: what is
// summed up over it is a difference of sums over its segment and may not lose digits to them.
TEST_F(AttentionLawsTest, BucketsAreExactAtAnyDistance) {
  constexpr int64_t kTokens = 70001;
  AttentionConfig config;
  config.bias = {.kind = BiasKind::kT5, .max_distance = 65536};
  const AttentionCase buckets =
      MakeCase({.name = "buckets", .attention = config, .max_tokens = kTokens});
  config.bias = {.kind = BiasKind::kTable, .table_length = kTokens};
  const auto far_run = [](int64_t head, int64_t column) {
    const int64_t offset = column - kTokens + 1;
    return offset >= -5200 - head && offset < -5000 ? 9.0 : offset < 0 ? 0.5 : 0.0;
  };
  const AttentionCase run =
      MakeCase({.name = "run", .attention = config, .max_tokens = kTokens, .bias = far_run});
  for (const AttentionCase& which : {buckets, run}) {
    const auto attention = Make(which);
    ASSERT_EQ(attention->Plan(kTokens), Route::kChunkwise) << which.name;
    const AttentionInput input = RandomInput(which.config, kTokens, 8);
    const at::Tensor out = RunRoute(*attention, Route::kChunkwise, input);
    const std::vector<int64_t> rows = SampledRows(kTokens);
    EXPECT_LE(RelativeError(RowsOf(out, rows), ReferenceOutput(which, input, rows), input), 1e-6)
        << which.name;
  }
}

}  // namespace
}  // namespace longwave
