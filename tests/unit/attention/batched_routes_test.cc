// The batched forms of tiles and chunkwise, which CUDA takes, on the host in double: free of the
// rounding that could hide a wrong weight.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/attention/routes/batched_chunkwise.h"
#include "model/attention/routes/batched_tiles.h"
#include "model/base/error.h"
#include "tests/property/attention_cases.h"

namespace longwave {
namespace {

constexpr int64_t kLengths[] = {1, 2, 31, 127, 128, 129, 257, 1000, 1025, 4096};

// Whole sequences in one piece, and pieces of a block or two.
constexpr int64_t kSmallScores = 1 << 20;
constexpr int64_t kScores[] = {kBatchedTileBytes, kSmallScores};

class BatchedRoutesTest : public ::testing::Test {
 protected:
  BatchedRoutesTest() { at::set_num_threads(1); }

  static std::vector<AttentionCase> Structured() {
    std::vector<AttentionCase> cases;
    for (const bool causal : {false, true}) {
      const auto add = [&](std::string name, BiasConfig bias, bool qk_norm = true) {
        AttentionConfig attention;
        attention.causal = causal;
        attention.qk_norm = qk_norm;
        attention.bias = bias;
        cases.push_back(MakeCase({.name = name + (causal ? " causal" : ""),
                                  .attention = attention,
                                  .max_tokens = 4096,
                                  .spread = 1}));
      };
      add("none", {});
      add("clipped", {.kind = BiasKind::kClipped, .max_distance = 16});
      add("clipped beyond a block", {.kind = BiasKind::kClipped, .max_distance = 300});
      add("t5", {.kind = BiasKind::kT5});
      add("t5, no norm", {.kind = BiasKind::kT5}, /*qk_norm=*/false);
      add("alibi", {.kind = BiasKind::kAlibi});
    }
    return cases;
  }

  template <typename Make>
  static at::Tensor Run(const LayerState& layer, const AttentionInput& input, Make make,
                        bool backwards = false) {
    const RouteContext context = MakeContext(layer, input, at::kDouble);
    RunAll(*make(context), backwards);
    return context.out;
  }

  static void ExpectReference(const AttentionCase& which, const AttentionInput& input,
                              const at::Tensor& actual) {
    const std::vector<int64_t> rows = SampledRows(input.tokens());
    EXPECT_LE(RelativeError(RowsOf(actual, rows), ReferenceOutput(which, input, rows), input),
              1e-12)
        << which.name << " n = " << input.tokens();
  }

 private:
  const c10::InferenceMode inference_;
};

TEST_F(BatchedRoutesTest, ChunkwiseAgreesWithTheReference) {
  for (const AttentionCase& which : Structured()) {
    const auto layer = MakeLayerState(which);
    const auto weights = std::make_shared<const ChunkwiseWeights>(
        MakeChunkwiseWeights(layer->weights, AllHeads(layer->shape), at::kDouble));
    for (const int64_t n : kLengths) {
      const AttentionInput input = RandomInput(which.config, n, n);
      for (const int64_t bytes : kScores) {
        ExpectReference(which, input, Run(*layer, input, [&](const RouteContext& context) {
                          return MakeBatchedChunkwisePass(context, weights, bytes);
                        }));
      }
    }
  }
}

TEST_F(BatchedRoutesTest, ChunkwiseOfSomeHeads) {
  const AttentionCase which = Structured()[3];
  const auto layer = MakeLayerState(which);
  const std::vector<int64_t> heads = {1};
  const auto weights = std::make_shared<const ChunkwiseWeights>(
      MakeChunkwiseWeights(layer->weights, heads, at::kDouble));
  const AttentionInput input = RandomInput(which.config, 1000, 1);
  RouteContext context = MakeContext(*layer, input, at::kDouble);
  context.heads = heads;
  RunAll(*MakeBatchedChunkwisePass(context, weights));
  const at::Tensor expected = ReferenceOutput(which, input, AllRows(1000));
  EXPECT_LE(RelativeError(context.out.select(1, 1), expected.select(1, 1), input), 1e-12);
  EXPECT_TRUE(at::all(at::isnan(context.out.select(1, 0))).item<bool>());
}

TEST_F(BatchedRoutesTest, TilesAgreeWithTheReferenceForEveryFeatureMap) {
  for (const FeatureKind kind : {FeatureKind::kPrf, FeatureKind::kSphere, FeatureKind::kElu,
                                 FeatureKind::kTrf, FeatureKind::kSoftmax}) {
    for (const bool causal : {false, true}) {
      for (const bool qk_norm : {true, false}) {
        if (kind == FeatureKind::kTrf && !qk_norm) continue;
        AttentionConfig attention;
        attention.features = kind;
        attention.causal = causal;
        attention.qk_norm = qk_norm;
        attention.bias = {.kind = BiasKind::kTable, .table_length = 5000};
        const AttentionCase which =
            MakeCase({.name = "kind " + std::to_string(static_cast<int>(kind)),
                      .attention = attention,
                      .max_tokens = 5000,
                      .spread = 0.5});
        const auto layer = MakeLayerState(which);
        for (const int64_t n : {1, 33, 128, 1000, 5000}) {
          const AttentionInput input = RandomInput(which.config, n, n);
          for (const int64_t bytes : kScores) {
            ExpectReference(which, input, Run(*layer, input, [&](const RouteContext& context) {
                              return MakeBatchedTilesPass(context, bytes);
                            }));
          }
        }
      }
    }
  }
}

TEST_F(BatchedRoutesTest, BitsDoNotDependOnTheOrderOfPieces) {
  for (const AttentionCase& which : Structured()) {
    const auto layer = MakeLayerState(which);
    const auto weights = std::make_shared<const ChunkwiseWeights>(
        MakeChunkwiseWeights(layer->weights, AllHeads(layer->shape), at::kDouble));
    const AttentionInput input = RandomInput(which.config, 1500, 5);
    const auto chunkwise = [&](const RouteContext& context) {
      return MakeBatchedChunkwisePass(context, weights, kSmallScores);
    };
    const auto tiles = [](const RouteContext& context) {
      return MakeBatchedTilesPass(context, kSmallScores);
    };
    EXPECT_TRUE(
        at::equal(Run(*layer, input, chunkwise), Run(*layer, input, chunkwise, /*backwards=*/true)))
        << which.name;
    EXPECT_TRUE(at::equal(Run(*layer, input, tiles), Run(*layer, input, tiles, /*backwards=*/true)))
        << which.name;
  }
}

// One key, two feature pairs whose cosines are 1 and -1: the denominator is nothing but rounding.
TEST_F(BatchedRoutesTest, ReportsDenominatorsThatCancel) {
  AttentionCase which;
  which.config.num_layers = 1;
  which.config.num_heads = 1;
  which.config.head_dim = 2;
  which.config.max_tokens = 16;
  which.config.attention.features = FeatureKind::kTrf;
  which.config.attention.num_features = 2;
  const float pi = static_cast<float>(M_PI);
  which.weights["layers.0.attention.projection"] = {{1, 2, 2}, {0, 0, pi, 0}};
  const auto layer = MakeLayerState(which);
  const at::Tensor q = at::tensor({1.0F, 0.0F}).view({1, 1, 2});
  const at::Tensor k = at::tensor({0.0F, 1.0F}).view({1, 1, 2});
  const auto cancelled = MakeBatchedTilesPass(MakeContext(*layer, {q, k, k}, at::kFloat));
  RunAll(*cancelled);
  EXPECT_EQ(GetErrorDetails(cancelled->status()).reason, ErrorReason::kDegenerateDenominator);
  const auto sound = MakeBatchedTilesPass(MakeContext(*layer, {k, k, k}, at::kFloat));
  RunAll(*sound);
  EXPECT_TRUE(sound->status().ok()) << sound->status();
}

// Admission goes by what Cost says before a pass is made.
TEST_F(BatchedRoutesTest, CostsAreThoseOfThePass) {
  for (const AttentionCase& which : Structured()) {
    if (!which.config.attention.qk_norm) continue;  // key maxima are not counted
    const auto layer = MakeLayerState(which);
    const auto weights = std::make_shared<const ChunkwiseWeights>(
        MakeChunkwiseWeights(layer->weights, AllHeads(layer->shape), at::kFloat));
    const auto expect_cost = [&](const AttentionCost& cost, const AttentionPass& pass) {
      double flops = 0;
      double largest = 0;
      for (int phase = 0; phase < pass.phases(); ++phase) {
        flops += pass.PieceFlops(phase) * static_cast<double>(pass.Pieces(phase));
        largest = std::max(largest, pass.PieceFlops(phase));
      }
      EXPECT_NEAR(cost.flops / flops, 1, 1e-9) << which.name;
      EXPECT_NEAR(cost.largest_piece_flops / largest, 1, 1e-9) << which.name;
      EXPECT_EQ(cost.bytes, pass.ResidentBytes()) << which.name;
    };
    for (const int64_t n : {1, 1000, 4096}) {
      const RouteContext context = MakeContext(*layer, RandomInput(which.config, n, 8), at::kFloat);
      expect_cost(BatchedTilesCost(layer->shape, layer->shape.heads, n, 4),
                  *MakeBatchedTilesPass(context));
      expect_cost(BatchedChunkwiseCost(layer->shape, *weights, n, 4),
                  *MakeBatchedChunkwisePass(context, weights));
    }
  }
}

TEST_F(BatchedRoutesTest, OutMayBeTheMemoryOfQ) {
  const AttentionCase which = Structured()[3];
  const auto layer = MakeLayerState(which);
  const auto weights = std::make_shared<const ChunkwiseWeights>(
      MakeChunkwiseWeights(layer->weights, AllHeads(layer->shape), at::kFloat));
  const AttentionInput input = RandomInput(which.config, 1500, 7);
  const auto expect_same = [&](auto make) {
    RouteContext apart = MakeContext(*layer, input, at::kFloat);
    apart.out = at::empty(input.q.sizes());
    RunAll(*make(apart));
    RouteContext same = MakeContext(*layer, input, at::kFloat);
    same.q = input.q.clone();
    same.out = same.q;
    RunAll(*make(same));
    EXPECT_TRUE(at::equal(apart.out, same.out));
  };
  expect_same([&](const RouteContext& context) {
    return MakeBatchedChunkwisePass(context, weights, kSmallScores);
  });
  expect_same(
      [](const RouteContext& context) { return MakeBatchedTilesPass(context, kSmallScores); });
}

}  // namespace
}  // namespace longwave
