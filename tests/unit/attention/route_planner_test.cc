#include "model/attention/route_planner.h"

#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/base/error.h"
#include "tests/unit/attention/bias_weights.h"

namespace longwave {
namespace {

constexpr AttentionShape kPrf = {.heads = 1, .head_dim = 64, .features = 64};

ToeplitzWeights Weights(const BiasConfig& bias, const std::vector<float>& values,
                        bool causal = false, int64_t max_tokens = 1 << 20) {
  const ModelConfig config = BiasModel(bias, 1, causal, max_tokens);
  const int64_t columns = static_cast<int64_t>(values.size());
  return ToeplitzWeights(*RelativeBias::Create(config, BiasTensor({1, columns}, values), 0), causal,
                         max_tokens);
}

std::vector<float> Random(int64_t count, double spread) {
  std::mt19937_64 generator(5);
  std::normal_distribution<double> normal(0, spread);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(normal(generator));
  return values;
}

// The rounding study behind the guard: n = 2048, what the guard's figure is, and what it takes.
struct GuardRow {
  std::string name;
  bool causal;
  std::function<double(int64_t)> b;
  double predicted;  // 2^-24 * row-sum ratio, to one digit
  Precision taken;
};

std::vector<GuardRow> GuardTable() {
  constexpr double kLast = 2047;
  const auto peak = [](double height) {
    return [height](int64_t o) { return o == 3 ? height : 0.0; };
  };
  const auto slope = [](double end) {
    return [end](int64_t o) { return end * static_cast<double>(std::abs(o)) / kLast; };
  };
  return {
      {"peak 5", false, peak(5), 6e-8, Precision::kFp32},
      {"peak 10", false, peak(10), 7e-7, Precision::kFp32},
      {"peak 15", false, peak(15), 1e-4, Precision::kFp64},
      {"peak 20", false, peak(20), 1e-2, Precision::kFp64},
      {"peak 25", false, peak(25), 2.1, Precision::kFp64},
      {"decay 5", false, slope(-5), 1e-7, Precision::kFp32},
      {"decay 40", false, slope(-40), 1e-7, Precision::kFp32},
      {"growth 5", false, slope(5), 4e-7, Precision::kFp32},
      {"growth 10", false, slope(10), 4e-6, Precision::kFp64},
      {"growth 20", false, slope(20), 7e-4, Precision::kFp64},
      {"growth 40", false, slope(40), 14, Precision::kFp64},
      {"causal flat", true, [](int64_t) { return 0.0; }, 1e-4, Precision::kFp64},
      {"peak 40", false, peak(40), 7e6, Precision::kTiles},
  };
}

TEST(FftPrecisionTest, FollowsTheRoundingStudy) {
  for (const GuardRow& row : GuardTable()) {
    const ToeplitzWeights weights = TableWeights(2048, row.causal, row.b);
    const double ratio = weights.RowSumRatio(0, 2048);
    EXPECT_GT(0x1p-24 * ratio, 0.6 * row.predicted) << row.name;
    EXPECT_LT(0x1p-24 * ratio, 1.6 * row.predicted) << row.name;
    EXPECT_EQ(FftPrecision(ratio, true), row.taken) << row.name;
  }
}

TEST(FftPrecisionTest, TrustsNoFp32TransformOfUnnormalisedFeatures) {
  EXPECT_EQ(FftPrecision(1, true), Precision::kFp32);
  EXPECT_EQ(FftPrecision(1, false), Precision::kFp64);
  EXPECT_EQ(FftPrecision(1e12, false), Precision::kTiles);
}

TEST(TilePrecisionTest, WidensBeforeRowsFallOutOfRange) {
  EXPECT_EQ(TilePrecision(0), Precision::kFp32);
  EXPECT_EQ(TilePrecision(40), Precision::kFp32);
  EXPECT_EQ(TilePrecision(80), Precision::kFp64);
}

TEST(BandBlocksTest, CountsTheBlocksWithinReach) {
  const auto blocks = [](int64_t k) {
    const auto b = [k](int64_t o) { return std::abs(o) < k ? std::sin(13.0 * o) : 0.0; };
    return BandBlocks(TableWeights(2048, false, b));
  };
  EXPECT_EQ(blocks(0), 0);
  EXPECT_EQ(blocks(1), 0);
  EXPECT_EQ(blocks(2), 1);
  EXPECT_EQ(blocks(129), 1);
  EXPECT_EQ(blocks(130), 2);
}

struct PlanRow {
  BiasKind kind;
  bool causal;
  int64_t n;
  Route expected;
};

TEST(PlanRouteTest, TakesTheRouteOfTheTable) {
  for (const PlanRow& row : std::vector<PlanRow>{
           {BiasKind::kT5, false, 1, Route::kChunkwise},
           {BiasKind::kT5, false, 4096, Route::kChunkwise},
           {BiasKind::kT5, true, 1 << 20, Route::kChunkwise},
           {BiasKind::kAlibi, false, 1 << 20, Route::kChunkwise},
           {BiasKind::kClipped, true, 65536, Route::kChunkwise},
           {BiasKind::kTable, false, 1024, Route::kTiles},
           {BiasKind::kTable, false, 8192, Route::kTiles},
           {BiasKind::kTable, false, 16384, Route::kFft},
           {BiasKind::kTable, false, 65536, Route::kFft},
           // Causal tiles cost half, and row sums differ by a factor of n, so that transforms are
           // fp64: they pay later.
           {BiasKind::kTable, true, 32768, Route::kTiles},
           {BiasKind::kTable, true, 131072, Route::kFft},
       }) {
    const BiasConfig bias = {.kind = row.kind, .table_length = 131072};
    const int64_t columns = row.kind == BiasKind::kTable     ? 2 * 131072 - 1
                            : row.kind == BiasKind::kT5      ? 32
                            : row.kind == BiasKind::kClipped ? 257
                                                             : 1;
    std::vector<float> values = Random(columns, 0.5);
    if (row.kind == BiasKind::kAlibi) values[0] = 0.1F;
    const ToeplitzWeights weights = Weights(bias, values, row.causal);
    AttentionShape shape = kPrf;
    shape.causal = row.causal;
    EXPECT_EQ(MainRoute(PlanHeads({shape, weights}, row.n)), row.expected)
        << static_cast<int>(row.kind) << (row.causal ? " causal" : "") << " n = " << row.n;
  }
}

TEST(PlanRouteTest, PutsSignedFeaturesAndSoftmaxInTiles) {
  const ToeplitzWeights weights = Weights({.kind = BiasKind::kT5}, Random(32, 1));
  for (const FeatureKind kind : {FeatureKind::kTrf, FeatureKind::kSoftmax}) {
    AttentionShape shape = kPrf;
    shape.kind = kind;
    EXPECT_EQ(MainRoute(PlanHeads({shape, weights}, 100)), Route::kTiles);
    EXPECT_EQ(MainRoute(PlanHeads({shape, weights}, 1 << 20)), Route::kTiles);
    EXPECT_FALSE(CheckRoute({shape, weights}, 100, Route::kChunkwise).ok());
    EXPECT_FALSE(CheckRoute({shape, weights}, 100, Route::kFft).ok());
    EXPECT_TRUE(CheckRoute({shape, weights}, 100, Route::kTiles).ok());
  }
}

TEST(PlanRouteTest, FallsBackToTilesAtAnyLengthIfNoTransformIsGoodEnough) {
  std::vector<float> values = Random(2 * 65536 - 1, 0.5);
  values[65535 + 3] = 50;
  const ToeplitzWeights weights =
      Weights({.kind = BiasKind::kTable, .table_length = 65536}, values, false, 65536);
  EXPECT_EQ(MainRoute(PlanHeads({kPrf, weights}, 65536)), Route::kTiles);
}

// Two heads, the first of noise and the second flat but for a few offsets.
ToeplitzWeights MixedWeights(int64_t n) {
  std::vector<float> values = Random(2 * (2 * n - 1), 0.5);
  for (int64_t i = 0; i < 2 * n - 1; ++i) {
    if (std::abs(i - n + 1) > 100) values[2 * n - 1 + i] = 0.25F;
  }
  const ModelConfig config = BiasModel({.kind = BiasKind::kTable, .table_length = n}, 2, false, n);
  return ToeplitzWeights(
      *RelativeBias::Create(config, BiasTensor({2, 2 * n - 1}, std::move(values)), 0), false, n);
}

TEST(PlanHeadsTest, GivesEachHeadItsOwnRoute) {
  const ToeplitzWeights weights = MixedWeights(16384);
  AttentionShape shape = kPrf;
  shape.heads = 2;
  const LayerFacts facts = {.shape = shape, .weights = weights};
  const HeadPlan plan = PlanHeads(facts, 4096);
  ASSERT_EQ(plan.size(), 2);
  EXPECT_EQ(plan[0].method, HeadMethod::kTiles);
  EXPECT_EQ(plan[0].heads, std::vector<int64_t>{0});
  EXPECT_EQ(plan[1].method, HeadMethod::kBand);
  EXPECT_EQ(PlanText(plan), "tiles 0 chunkwise 1");
  EXPECT_EQ(PlanText(PlanHeads(facts, 16384)), "fft 0 chunkwise 1");
  // What is asked for is for all heads or not to be had.
  EXPECT_FALSE(CheckRoute(facts, 4096, Route::kChunkwise).ok());
  EXPECT_EQ(PlanText(PlanHeads(facts, 4096, Route::kFft)), "fft");
}

TEST(PlanHeadsTest, TakesWhatTheModelPrefersWhereItMayBeHad) {
  const ToeplitzWeights weights = MixedWeights(32768);
  AttentionShape shape = kPrf;
  shape.heads = 2;
  LayerFacts facts = {.shape = shape, .weights = weights, .preferred = Route::kTiles};
  EXPECT_EQ(PlanText(PlanHeads(facts, 16384)), "tiles");
  EXPECT_EQ(PlanText(PlanHeads(facts, 16385)), "fft 0 chunkwise 1");
  facts.preferred = Route::kChunkwise;
  EXPECT_EQ(PlanText(PlanHeads(facts, 4096)), "tiles 0 chunkwise 1");
  // What is asked for comes first.
  facts.preferred = Route::kTiles;
  EXPECT_EQ(PlanText(PlanHeads(facts, 4096, Route::kFft)), "fft");
}

TEST(PlanHeadsTest, KeepsWideBandsFromNarrowOnes) {
  const int64_t n = 8192;
  std::vector<float> values = Random(3 * (2 * n - 1), 0.5);
  for (int64_t head = 0; head < 3; ++head) {
    const int64_t band = head == 1 ? 2000 : 100 + head;
    for (int64_t i = 0; i < 2 * n - 1; ++i) {
      if (std::abs(i - n + 1) > band) values[head * (2 * n - 1) + i] = 0;
    }
  }
  const ModelConfig config = BiasModel({.kind = BiasKind::kTable, .table_length = n}, 3, false, n);
  const ToeplitzWeights weights(
      *RelativeBias::Create(config, BiasTensor({3, 2 * n - 1}, values), 0), false, n);
  EXPECT_EQ(PlanText(PlanHeads({kPrf, weights}, n, Route::kChunkwise)),
            "chunkwise 0,2 chunkwise 1");
}

TEST(PlanHeadsTest, TakesPrefixSumsWhereRunsAreFarOut) {
  const auto plan = [](int64_t max_distance, int64_t n, AttentionShape shape = kPrf) {
    const ToeplitzWeights weights =
        Weights({.kind = BiasKind::kT5, .max_distance = max_distance}, Random(32, 1));
    return PlanText(PlanHeads({shape, weights}, n));
  };
  EXPECT_EQ(plan(128, 65536), "chunkwise");
  EXPECT_EQ(plan(65536, 65536), "chunkwise/buckets");
  EXPECT_EQ(plan(1 << 20, 1 << 20), "chunkwise/buckets");
  // The kernels are the CPU's, in fp32 and for vectors of unit length.
  AttentionShape cuda = kPrf;
  cuda.device = DeviceClass::kCuda;
  EXPECT_NE(plan(65536, 65536, cuda), "chunkwise/buckets");
  AttentionShape unnormalised = kPrf;
  unnormalised.normalised = false;
  EXPECT_NE(plan(65536, 65536, unnormalised), "chunkwise/buckets");
}

TEST(CheckRouteTest, ChunkwiseServesRunsWithoutTails) {
  const auto runs = [](int64_t o) {
    const int64_t distance = std::abs(o);
    return distance >= 100 && distance < 4000 ? 0.5 : std::sin(13.0 * static_cast<double>(o));
  };
  const ToeplitzWeights weights = TableWeights(4096, false, runs);
  EXPECT_FALSE(weights.structured());
  EXPECT_TRUE(CheckRoute({kPrf, weights}, 4096, Route::kChunkwise).ok());
  EXPECT_EQ(PlanText(PlanHeads({kPrf, weights}, 4096)), "chunkwise/buckets");
  AttentionShape cuda = kPrf;
  cuda.device = DeviceClass::kCuda;
  EXPECT_FALSE(CheckRoute({cuda, weights}, 4096, Route::kChunkwise).ok());
}

// The costs decide, and nothing else does: with transforms a hundred times cheaper they are taken
// where tiles were.
TEST(PlanHeadsTest, FollowsTheCosts) {
  const ToeplitzWeights weights = MixedWeights(4096);
  RouteCosts costs = BuiltInRouteCosts();
  for (ChannelCost& channel : costs.cpu.fft_fp32) channel.nanoseconds_per_token /= 100;
  for (ChannelCost& channel : costs.cpu.fft_fp64) channel.nanoseconds_per_token /= 100;
  AttentionShape shape = kPrf;
  shape.heads = 2;
  EXPECT_EQ(MainRoute(PlanHeads({shape, weights}, 4096)), Route::kTiles);
  EXPECT_EQ(PlanHeads({.shape = shape, .weights = weights, .costs = costs}, 4096)[0].method,
            HeadMethod::kFft);
}

TEST(CheckRouteTest, RefusesQuadraticRoutesAboveTheirLimit) {
  const ToeplitzWeights weights = Weights({.kind = BiasKind::kT5}, Random(32, 1));
  for (const Route route : {Route::kDirect, Route::kTiles}) {
    EXPECT_TRUE(CheckRoute({kPrf, weights}, 16384, route).ok());
    const absl::Status refused = CheckRoute({kPrf, weights}, 16385, route);
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(GetErrorDetails(refused).reason, ErrorReason::kRouteNotExact);
    EXPECT_EQ(GetErrorDetails(refused).limit, "16384");
  }
}

TEST(CheckRouteTest, RefusesWhatIsNotExact) {
  const ToeplitzWeights free =
      Weights({.kind = BiasKind::kTable, .table_length = 1024}, Random(2047, 1), false, 1024);
  const absl::Status chunkwise = CheckRoute({kPrf, free}, 1000, Route::kChunkwise);
  EXPECT_EQ(GetErrorDetails(chunkwise).reason, ErrorReason::kRouteNotExact);
  EXPECT_TRUE(CheckRoute({kPrf, free}, 1000, Route::kFft).ok());
  EXPECT_EQ(GetErrorDetails(CheckRoute({kPrf, free}, 1000, Route::kInterpolation)).reason,
            ErrorReason::kRouteNotExact);
}

TEST(CheckRouteTest, RefusesSequencesBeyondTheTable) {
  const ToeplitzWeights weights =
      Weights({.kind = BiasKind::kTable, .table_length = 1024, .beyond = BeyondTable::kRefuse},
              Random(2047, 1), false, 1024);
  EXPECT_TRUE(CheckRoute({kPrf, weights}, 1024, Route::kAuto).ok());
  const absl::Status refused = CheckRoute({kPrf, weights}, 1025, Route::kAuto);
  EXPECT_EQ(GetErrorDetails(refused).reason, ErrorReason::kSequenceTooLong);
  EXPECT_EQ(GetErrorDetails(refused).limit, "1024");
}

}  // namespace
}  // namespace longwave
