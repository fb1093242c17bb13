#include "model/encoder/sequence_output.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "model/base/error.h"

namespace longwave {
namespace {

constexpr int64_t kHidden = 24;
constexpr int kLastLayer = 2;

using Layer = std::vector<float>;  // [tokens, kHidden]

std::vector<Layer> RandomLayers(int64_t tokens) {
  std::mt19937 random(static_cast<uint32_t>(tokens));
  std::normal_distribution<float> normal;
  std::vector<Layer> layers(kLastLayer + 1, Layer(tokens * kHidden));
  for (Layer& layer : layers) {
    for (float& value : layer) value = normal(random);
  }
  return layers;
}

// Runs a SequenceOutput as a job does; `backwards`: blocks in the other order.
absl::StatusOr<std::vector<float>> FoldAll(const OutputSpec& spec, int64_t tokens,
                                           const std::vector<Layer>& layers,
                                           bool backwards = false) {
  SequenceOutput output(spec, tokens, kHidden, kLastLayer);
  for (int layer = 0; layer <= kLastLayer; ++layer) {
    if (!output.Folds(layer)) continue;
    for (int64_t i = 0; i < output.blocks(); ++i) {
      const int64_t block = backwards ? output.blocks() - 1 - i : i;
      const TokenRange rows = output.BlockRows(block);
      output.Fold(layer, block,
                  absl::MakeConstSpan(&layers[layer][rows.begin * kHidden],
                                      (rows.end - rows.begin) * kHidden));
    }
    if (absl::Status status = output.EndLayer(layer); !status.ok()) return status;
  }
  EXPECT_EQ(output.ResidentBytes(),
            SequenceOutput::PredictBytes(spec, tokens, kHidden, kLastLayer));
  std::vector<float> values(output.rows() * output.dim());
  std::vector<const float*> last_rows;
  if (output.ReadsLastLayer()) {
    for (int64_t row = 0; row < output.rows(); ++row) {
      last_rows.push_back(&layers[kLastLayer][output.TokenOfRow(row) * kHidden]);
    }
  }
  absl::Status status = output.Gather(0, last_rows, absl::MakeSpan(values));
  if (!status.ok()) return status;
  return values;
}

// The same, written as the contract of OutputSpec reads.
std::vector<double> PoolNaively(const Layer& layer, Pooling pooling, TokenRange range) {
  std::vector<double> vector(kHidden);
  for (int64_t c = 0; c < kHidden; ++c) {
    double sum = 0;
    double max = -std::numeric_limits<double>::infinity();
    for (int64_t token = range.begin; token < range.end; ++token) {
      sum += layer[token * kHidden + c];
      max = std::max<double>(max, layer[token * kHidden + c]);
    }
    vector[c] = pooling == Pooling::kMax ? max : sum / (range.end - range.begin);
  }
  return vector;
}

std::vector<TokenRange> RowsNaively(const OutputSpec& spec, int64_t tokens) {
  switch (spec.pooling) {
    case Pooling::kFirst:
      return {{0, 1}};
    case Pooling::kLast:
      return {{tokens - 1, tokens}};
    case Pooling::kSpans:
      return spec.spans;
    case Pooling::kRows: {
      std::vector<TokenRange> rows;
      const std::vector<TokenRange> all = {{0, tokens}};
      for (const TokenRange range : spec.row_ranges.empty() ? all : spec.row_ranges) {
        for (int64_t token = range.begin; token < range.end; token += spec.row_stride) {
          rows.push_back({token, token + 1});
        }
      }
      return rows;
    }
    default:
      return {{0, tokens}};
  }
}

std::vector<double> FoldNaively(const OutputSpec& spec, int64_t tokens,
                                const std::vector<Layer>& layers) {
  std::vector<double> values;
  for (const TokenRange range : RowsNaively(spec, tokens)) {
    const std::vector<int> wanted =
        spec.layers.empty() ? std::vector<int>{kLastLayer} : spec.layers;
    for (const int layer : wanted) {
      std::vector<double> vector = PoolNaively(layers[layer], spec.pooling, range);
      if (spec.truncate_dim > 0) vector.resize(spec.truncate_dim);
      double squares = 0;
      for (const double value : vector) squares += value * value;
      for (const double value : vector) {
        values.push_back(spec.normalize && squares > 0 ? value / std::sqrt(squares) : value);
      }
    }
  }
  return values;
}

void ExpectAgreesWithNaive(const OutputSpec& spec, int64_t tokens) {
  const std::vector<Layer> layers = RandomLayers(tokens);
  const auto actual = FoldAll(spec, tokens, layers);
  ASSERT_TRUE(actual.ok()) << actual.status();
  const std::vector<double> expected = FoldNaively(spec, tokens, layers);
  ASSERT_EQ(actual->size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    // Sums in double, so only the last rounding to float counts: half a unit in the last place, and
    // as much again for values that are sums of cancelling terms (|row values| < 6).
    const double tolerance = std::ldexp(std::abs(expected[i]), -24) + tokens * std::ldexp(6, -52);
    ASSERT_NEAR((*actual)[i], expected[i], tolerance) << "value " << i << " of " << tokens;
  }
  // The order of blocks is of no consequence, bit by bit.
  EXPECT_EQ(*FoldAll(spec, tokens, layers, /*backwards=*/true), *actual);
}

class SequenceOutputTest : public testing::TestWithParam<int64_t> {};
// Around the height of a block, 1024.
INSTANTIATE_TEST_SUITE_P(Tokens, SequenceOutputTest,
                         testing::Values(1, 2, 3, 1000, 1023, 1024, 1025, 2048, 5000));

TEST_P(SequenceOutputTest, PoolsWholeSequences) {
  for (const Pooling pooling : {Pooling::kMean, Pooling::kFirst, Pooling::kLast, Pooling::kMax}) {
    ExpectAgreesWithNaive({.pooling = pooling}, GetParam());
    ExpectAgreesWithNaive({.pooling = pooling, .truncate_dim = 5, .normalize = true}, GetParam());
    ExpectAgreesWithNaive({.pooling = pooling, .layers = {2, 0, 1, 0}, .normalize = true},
                          GetParam());
  }
}

TEST_P(SequenceOutputTest, PoolsSpansThatOverlap) {
  const int64_t n = GetParam();
  OutputSpec spec{.pooling = Pooling::kSpans};
  spec.spans = {{0, n}, {n - 1, n}, {n / 3, n}, {0, 1}};
  ExpectAgreesWithNaive(spec, n);
  spec.layers = {1, 2};
  spec.truncate_dim = 7;
  ExpectAgreesWithNaive(spec, n);
}

TEST_P(SequenceOutputTest, SelectsRows) {
  const int64_t n = GetParam();
  OutputSpec spec{.pooling = Pooling::kRows};
  ExpectAgreesWithNaive(spec, n);
  spec.row_stride = 3;
  ExpectAgreesWithNaive(spec, n);
  spec.row_ranges = {{n / 2, n}, {0, 1}, {0, n}};
  ExpectAgreesWithNaive(spec, n);
  spec.layers = {0, 2};
  ExpectAgreesWithNaive(spec, n);
  spec.normalize = true;
  spec.truncate_dim = 3;
  ExpectAgreesWithNaive(spec, n);
  spec.layers = {1};
  ExpectAgreesWithNaive(spec, n);
}

TEST(SequenceOutput, RowsOfTheLastLayerAreNotStored) {
  const OutputSpec last{.pooling = Pooling::kRows, .layers = {kLastLayer}};
  EXPECT_FALSE(SequenceOutput(last, 1'000'000, kHidden, kLastLayer).Folds(kLastLayer));
  // Block headers alone.
  EXPECT_LT(SequenceOutput(last, 1'000'000, kHidden, kLastLayer).ResidentBytes(), 100'000);
}

TEST(SequenceOutput, TheZeroVectorStaysZero) {
  const std::vector<Layer> layers(kLastLayer + 1, Layer(3 * kHidden, 0.0f));
  for (const Pooling pooling : {Pooling::kMean, Pooling::kMax, Pooling::kRows}) {
    const auto values = FoldAll({.pooling = pooling, .normalize = true}, 3, layers);
    ASSERT_TRUE(values.ok()) << values.status();
    for (const float value : *values) EXPECT_EQ(value, 0.0f);
  }
}

TEST(SequenceOutput, LengthsOfNormalisedVectorsAreOneHoweverLargeOrSmall) {
  for (const float scale : {1e-30f, 1.0f, 1e30f}) {
    std::vector<Layer> layers(kLastLayer + 1, Layer(2 * kHidden, scale));
    const auto values = FoldAll({.normalize = true}, 2, layers);
    ASSERT_TRUE(values.ok()) << values.status();
    double squares = 0;
    for (const float value : *values) squares += static_cast<double>(value) * value;
    EXPECT_NEAR(squares, 1.0, kHidden * std::ldexp(1, -24));
  }
}

TEST(SequenceOutput, AValueThatIsNotFiniteIsAnError) {
  const float kNan = std::numeric_limits<float>::quiet_NaN();
  const float kInf = std::numeric_limits<float>::infinity();
  for (const float bad : {kNan, kInf, -kInf}) {
    for (const int64_t token : {0, 1500, 2999}) {
      std::vector<Layer> layers = RandomLayers(3000);
      layers[kLastLayer][token * kHidden + 7] = bad;
      for (const Pooling pooling : {Pooling::kMean, Pooling::kMax, Pooling::kRows}) {
        if (pooling == Pooling::kMax && bad == -kInf) continue;  // not the maximum
        const auto values = FoldAll({.pooling = pooling}, 3000, layers);
        EXPECT_EQ(GetErrorDetails(values.status()).reason, ErrorReason::kNonFinite)
            << PoolingName(pooling) << " of " << bad << " at " << token;
      }
    }
  }
}

TEST(SequenceOutput, AValueThatIsNotFiniteElsewhereIsNone) {
  std::vector<Layer> layers = RandomLayers(10);
  layers[kLastLayer][5 * kHidden + 7] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(FoldAll({.pooling = Pooling::kFirst}, 10, layers).ok());
  EXPECT_TRUE(FoldAll({.pooling = Pooling::kMean, .truncate_dim = 7}, 10, layers).ok());
  EXPECT_TRUE(FoldAll({.pooling = Pooling::kMean, .layers = {1}}, 10, layers).ok());
}

}  // namespace
}  // namespace longwave
