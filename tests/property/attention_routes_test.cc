// Every route that is exact for a layer computes the same attention: FFT = chunkwise = tiles =
// direct = reference, at lengths around block and transform boundaries.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/attention/attention.h"
#include "model/attention/routes/chunkwise.h"
#include "model/attention/routes/fft.h"
#include "model/attention/routes/tiles.h"
#include "model/reference/bias.h"
#include "tests/property/attention_cases.h"

namespace longwave {
namespace {

constexpr int64_t kTable = 4096;

// Up to here the direct route runs too (and all rows are compared).
constexpr int64_t kDenseTokens = 1025;

std::vector<CaseSpec> BiasCases() {
  std::vector<CaseSpec> specs;
  const auto add = [&](std::string name, BiasConfig bias, double spread,
                       std::function<double(int64_t, int64_t)> values = nullptr) {
    for (const bool causal : {false, true}) {
      AttentionConfig attention;
      attention.causal = causal;
      attention.bias = bias;
      specs.push_back({.name = name + (causal ? "Causal" : ""),
                       .attention = attention,
                       .max_tokens = kTable,
                       .spread = spread,
                       .bias = values});
    }
  };
  const BiasConfig table = {.kind = BiasKind::kTable, .table_length = kTable};
  // Deterministic noise in [-1, 1].
  const auto noise = [](int64_t head, int64_t column) {
    return std::sin(12.9898 * static_cast<double>(column) + 78.233 * static_cast<double>(head));
  };
  add("None", {}, 0);
  add("Clipped", {.kind = BiasKind::kClipped, .max_distance = 16}, 1);
  add("ClippedBeyondABlock", {.kind = BiasKind::kClipped, .max_distance = 300}, 1);
  add("T5", {.kind = BiasKind::kT5}, 1);
  add("T5PerLayer", {.kind = BiasKind::kT5, .shared_layers = false, .max_distance = 500}, 1);
  // Buckets that reach further than sequences do, where runs are far from one another.
  add("T5Far", {.kind = BiasKind::kT5, .max_distance = 65536}, 1);
  add("T5FewFar", {.kind = BiasKind::kT5, .max_distance = 3000, .num_buckets = 8}, 1);
  add("Alibi", {.kind = BiasKind::kAlibi}, 0);
  add("Table", table, 0, [=](int64_t h, int64_t c) { return 0.5 * noise(h, c); });
  add("TableSpread3", table, 0, [=](int64_t h, int64_t c) { return 1.5 * noise(h, c); });
  add("TablePeak12", table, 0,
      [=](int64_t h, int64_t c) { return h == 0 && c == kTable - 1 - 3 ? 12 : 0.3 * noise(h, c); });
  add("TableFlatTail", table, 0,
      [=](int64_t h, int64_t c) { return std::abs(c - kTable + 1) < 200 ? noise(h, c) : -1.0; });
  // Another slope on each side; multiples of 2^-7, so that the stored lines are exact.
  add("TableExponentialTails", table, 0, [=](int64_t h, int64_t c) {
    const int64_t offset = c - kTable + 1;
    if (std::abs(offset) < 100) return noise(h, c);
    return offset < 0 ? std::ldexp(offset, -7 + h) : -std::ldexp(offset, -5 - h);
  });
  // Runs with noise between them; no tail.
  add("TableRuns", table, 0, [=](int64_t h, int64_t c) {
    const int64_t distance = std::abs(c - kTable + 1);
    if (distance >= 150 && distance < 1100 + 70 * h) return c < kTable ? 0.5 : -0.25;
    return distance >= 1300 && distance < 4000 ? -0.75 : 0.5 * noise(h, c);
  });
  BiasConfig clipped_table = table;
  clipped_table.table_length = 600;
  clipped_table.beyond = BeyondTable::kClip;
  add("TableClippedBeyond", clipped_table, 0, noise);
  return specs;
}

bool IsOneOf(const CaseSpec& spec, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* name) {
    return spec.name == name || spec.name == std::string(name) + "Causal";
  });
}

// Tables without structure, which chunkwise refuses.
bool IsFree(const CaseSpec& spec) {
  return IsOneOf(spec, {"Table", "TableSpread3", "TablePeak12"});
}

// Runs without a tail, which chunkwise serves on kernels of its own alone.
bool HasRunsOnly(const CaseSpec& spec) { return IsOneOf(spec, {"T5Far", "TableRuns"}); }

// Relative errors of outputs at the compared rows: all of short sequences, 64 of long ones.
class Comparison {
 public:
  Comparison(const AttentionCase& which, const AttentionInput& input)
      : input_(input),
        rows_(SampledRows(input.tokens())),
        expected_(ReferenceOutput(which, input, rows_)) {}
  double Error(const at::Tensor& actual) const {
    return RelativeError(RowsOf(actual, rows_), expected_, input_);
  }

 private:
  const AttentionInput& input_;
  const std::vector<int64_t> rows_;
  const at::Tensor expected_;
};

// Largest over smallest row sum of one head, from the reference's bias.
double RowSumRatio(const AttentionCase& which, int64_t head, int64_t n) {
  const bool causal = which.config.attention.causal;
  const auto weight = [&](int64_t o) {
    return causal && o > 0 ? 0.0 : std::exp(ReferenceBias(which.config, which.weights, 0, head, o));
  };
  std::vector<double> after(n, 0);
  for (int64_t o = 1; o < n; ++o) after[o] = after[o - 1] + weight(o);
  double before = 0;
  double largest = 0;
  double smallest = 1e300;
  for (int64_t i = 0; i < n; ++i) {
    if (i > 0) before += weight(-i);
    const double sum = before + weight(0) + after[n - 1 - i];
    largest = std::max(largest, sum);
    smallest = std::min(smallest, sum);
  }
  return largest / smallest;
}

class AttentionFixture : public ::testing::Test {
 protected:
  AttentionFixture() { at::set_num_threads(1); }

 private:
  const c10::InferenceMode inference_;
};

class AttentionRoutesTest : public AttentionFixture,
                            public ::testing::WithParamInterface<CaseSpec> {};

constexpr int64_t kLengths[] = {1, 2, 3, 7, 64, 127, 128, 129, 1000, 1023, 1024, 1025, 4096};

// What is served. Tolerance: fp32 features carry |W x| * 2^-24 of error each, sums of positive
// terms add no more than their rounding, and the guard lets a transform add 8 rho at most.
TEST_P(AttentionRoutesTest, ServedRoutesAgreeWithTheReference) {
  const AttentionCase which = MakeCase(GetParam());
  const auto attention = CreateAttention(which.config, which.weights, 0, "cpu");
  ASSERT_TRUE(attention.ok()) << attention.status();
  for (const int64_t n : kLengths) {
    const AttentionInput input = RandomInput(which.config, n, 100 + n);
    const Comparison comparison(which, input);
    double rho = 0;
    AttentionCounters expected = (*attention)->Counters();
    for (int64_t h = 0; h < which.config.num_heads; ++h) {
      const double head_rho = 0x1p-24 * RowSumRatio(which, h, n);
      if (head_rho <= 1e-6) {
        rho = std::max(rho, head_rho);
        ++expected.fft_fp32;
      } else if (0x1p-29 * head_rho <= 1e-6) {
        ++expected.fft_fp64;
      } else {
        ++expected.fft_tiles;
      }
    }
    for (const Route route : {Route::kFft, Route::kChunkwise, Route::kTiles, Route::kDirect}) {
      if (!(*attention)->Check(n, route).ok()) {
        EXPECT_EQ(route, Route::kChunkwise);
        EXPECT_TRUE(IsFree(GetParam())) << "n = " << n;
        continue;
      }
      if (route == Route::kDirect && n > kDenseTokens) continue;
      // direct is in double and only its output is rounded to a float.
      const double tolerance = route == Route::kDirect ? 0x1p-24
                               : route == Route::kFft  ? std::max(1e-5, 8 * rho)
                                                       : 1e-5;
      EXPECT_LE(comparison.Error(RunRoute(**attention, route, input)), tolerance)
          << RouteName(route) << " n = " << n;
    }
    const AttentionCounters counted = (*attention)->Counters();
    EXPECT_EQ(counted.fft_fp32, expected.fft_fp32) << "n = " << n;
    EXPECT_EQ(counted.fft_fp64, expected.fft_fp64) << "n = " << n;
    EXPECT_EQ(counted.fft_tiles, expected.fft_tiles) << "n = " << n;
  }
}

// The same code in double, free of the rounding that could hide a wrong weight.
TEST_P(AttentionRoutesTest, DoubleRoutesAgreeToTwelveDigits) {
  const AttentionCase which = MakeCase(GetParam());
  const std::unique_ptr<LayerState> layer = MakeLayerState(which);
  for (const int64_t n : kLengths) {
    const AttentionInput input = RandomInput(which.config, n, 200 + n);
    const Comparison comparison(which, input);
    const auto error = [&](auto make) {
      const RouteContext context = MakeContext(*layer, input, at::kDouble);
      const std::unique_ptr<AttentionPass> pass = make(context);
      RunAll(*pass);
      return comparison.Error(context.out);
    };
    EXPECT_LE(error(MakeTilesPass), 1e-12) << "tiles n = " << n;
    double ratio = 0;
    for (int64_t h = 0; h < which.config.num_heads; ++h) {
      ratio = std::max(ratio, RowSumRatio(which, h, n));
    }
    const CpuFft fft(layer.get(), cpu::FindKernels("auto"));
    EXPECT_LE(error([&](const RouteContext& context) { return fft.Begin(context); }),
              std::max(1e-12, 16 * 0x1p-53 * ratio))
        << "fft n = " << n;
    EXPECT_EQ(fft.rows_recomputed(), 0) << "n = " << n;
    ASSERT_EQ(layer->weights.structured(), !IsFree(GetParam()) && !HasRunsOnly(GetParam()));
    if (!layer->weights.structured()) continue;
    const auto weights = std::make_shared<const ChunkwiseWeights>(
        MakeChunkwiseWeights(layer->weights, AllHeads(layer->shape), at::kDouble));
    EXPECT_LE(
        error([&](const RouteContext& context) { return MakeChunkwisePass(context, weights); }),
        1e-12)
        << "chunkwise n = " << n;
  }
}

INSTANTIATE_TEST_SUITE_P(Biases, AttentionRoutesTest, ::testing::ValuesIn(BiasCases()),
                         [](const auto& test) { return test.param.name; });

std::vector<CaseSpec> FeatureCases() {
  std::vector<CaseSpec> specs;
  const auto add = [&](std::string name, FeatureKind kind, bool qk_norm, double scale = 1) {
    for (const bool causal : {false, true}) {
      AttentionConfig attention;
      attention.features = kind;
      attention.qk_norm = qk_norm;
      attention.scale = scale;
      attention.causal = causal;
      attention.bias.kind = BiasKind::kT5;
      specs.push_back({.name = name + (causal ? "Causal" : ""), .attention = attention});
    }
  };
  add("PrfScaled", FeatureKind::kPrf, true, 2);
  add("PrfUnnormalised", FeatureKind::kPrf, false);
  add("Sphere", FeatureKind::kSphere, true);
  add("Elu", FeatureKind::kElu, true);
  add("EluUnnormalised", FeatureKind::kElu, false);
  add("Trf", FeatureKind::kTrf, true);
  add("Softmax", FeatureKind::kSoftmax, true, 4);
  add("SoftmaxUnnormalised", FeatureKind::kSoftmax, false);
  return specs;
}

class AttentionFeaturesTest : public AttentionRoutesTest {};

TEST_P(AttentionFeaturesTest, ServedRoutesAgreeWithTheReference) {
  const AttentionCase which = MakeCase(GetParam());
  const auto attention = CreateAttention(which.config, which.weights, 0, "cpu");
  ASSERT_TRUE(attention.ok()) << attention.status();
  for (const int64_t n : {1, 7, 129, 1000}) {
    const AttentionInput input = RandomInput(which.config, n, 300 + n);
    const Comparison comparison(which, input);
    for (const Route route : {Route::kFft, Route::kChunkwise, Route::kTiles, Route::kDirect}) {
      if (!(*attention)->Check(n, route).ok()) continue;
      EXPECT_LE(comparison.Error(RunRoute(**attention, route, input)), 1e-5)
          << RouteName(route) << " n = " << n;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Features, AttentionFeaturesTest, ::testing::ValuesIn(FeatureCases()),
                         [](const auto& test) { return test.param.name; });

using AttentionSpansTest = AttentionFixture;

// Softmax keeps a running maximum from one span of keys to the next.
TEST_F(AttentionSpansTest, SoftmaxTilesCrossSpans) {
  for (const bool causal : {false, true}) {
    AttentionConfig attention;
    attention.features = FeatureKind::kSoftmax;
    attention.qk_norm = false;
    attention.causal = causal;
    attention.bias.kind = BiasKind::kT5;
    const AttentionCase which =
        MakeCase({.name = "spans", .attention = attention, .max_tokens = 5000});
    const auto layer = CreateAttention(which.config, which.weights, 0, "cpu");
    ASSERT_TRUE(layer.ok()) << layer.status();
    const AttentionInput input = RandomInput(which.config, 5000, 400);
    const Comparison comparison(which, input);
    EXPECT_LE(comparison.Error(RunRoute(**layer, Route::kTiles, input)), 1e-5);
  }
}

}  // namespace
}  // namespace longwave
