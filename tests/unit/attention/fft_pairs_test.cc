#include "model/attention/routes/fft_pairs.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "model/attention/routes/fft_spectra.h"
#include "tests/property/attention_cases.h"
#include "tests/unit/attention/host_fft_device.h"

namespace longwave {
namespace {

class FftPairsTest : public ::testing::Test {
 protected:
  FftPairsTest() { at::set_num_threads(1); }

  static AttentionCase Table(AttentionConfig attention = {}, int64_t max_tokens = 2048,
                             std::function<double(int64_t, int64_t)> bias = nullptr) {
    attention.bias = {.kind = BiasKind::kTable, .table_length = max_tokens};
    return MakeCase({.name = "table",
                     .attention = attention,
                     .max_tokens = max_tokens,
                     .spread = 0.5,
                     .bias = std::move(bias)});
  }

  at::Tensor Run(const LayerState& layer, const AttentionInput& input, at::ScalarType type,
                 FftPairsLimits limits = {}) {
    FftPairs pairs(&layer, device_, limits);
    RouteContext context = MakeContext(layer, input, type);
    context.out = at::full(input.q.sizes(), std::nan(""));
    RunAll(*pairs.Begin(context));
    return context.out;
  }

  const std::shared_ptr<HostFftDevice> device_ = std::make_shared<HostFftDevice>();

 private:
  const c10::InferenceMode inference_;
};

TEST_F(FftPairsTest, BucketsFollowOneAnotherWithoutGaps) {
  int64_t next = 1;
  while (next < 2'000'000) {
    const FftBucket bucket = BucketOf(next);
    EXPECT_EQ(bucket.shortest, next);
    EXPECT_GE(bucket.longest, next);
    EXPECT_GE(bucket.length, 2 * bucket.longest - 1);
    EXPECT_EQ(BucketOf(bucket.longest).length, bucket.length);
    EXPECT_EQ(BucketOf(bucket.longest).length, FastTransformLength(2 * next - 1));
    next = bucket.longest + 1;
  }
}

// fp32 features carry |W x| roundings each; a transform adds at most 8 times 2^-24 of the largest
// over the smallest row sum, which is what the guard of the precision goes by.
TEST_F(FftPairsTest, AgreesWithTheReference) {
  for (const bool causal : {false, true}) {
    for (const bool qk_norm : {true, false}) {
      AttentionConfig attention;
      attention.causal = causal;
      attention.qk_norm = qk_norm;
      const AttentionCase which = Table(attention);
      const auto layer = MakeLayerState(which);
      for (const int64_t n : {1, 2, 3, 5, 64, 257, 1000, 2048}) {
        const AttentionInput input = RandomInput(which.config, n, n);
        const std::vector<int64_t> rows = SampledRows(n);
        const at::Tensor expected = ReferenceOutput(which, input, rows);
        const auto error = [&](at::ScalarType type) {
          return RelativeError(RowsOf(Run(*layer, input, type), rows), expected, input);
        };
        EXPECT_LT(error(at::kDouble), 0x1p-23) << "n = " << n;  // the output is fp32
        if (!qk_norm) continue;                                 // never served in fp32
        const double ratio =
            std::max(layer->weights.RowSumRatio(0, n), layer->weights.RowSumRatio(1, n));
        EXPECT_LT(error(at::kFloat), 4e-6 + 8 * 0x1p-24 * ratio) << "n = " << n;
      }
    }
  }
}

// Few and small groups: batches of single channels, of some pairs, of all pairs and some features.
TEST_F(FftPairsTest, GroupsDoNotChangeTheResult) {
  const AttentionCase which = Table();
  const auto layer = MakeLayerState(which);
  const AttentionInput input = RandomInput(which.config, 300, 1);  // length 640, 9 pairs
  const at::Tensor whole = Run(*layer, input, at::kFloat);
  constexpr int64_t kChannel = 640 * 8;
  for (const int64_t channels : {1, 4, 9, 40, 100}) {
    for (const int64_t features : {1, 5, 24}) {
      device_->transformed.clear();
      const at::Tensor split =
          Run(*layer, input, at::kFloat,
              {.product_bytes = channels * kChannel, .feature_bytes = features * 2 * 300 * 4});
      // The order of the sums is the same whatever the groups. Features mapped a few at a time are
      // other products, which may round otherwise.
      EXPECT_LT(at::max(at::abs(split - whole)).item<double>(), 1e-6);
      for (const auto& [batch, length, type] : device_->transformed) {
        if (type == at::kFloat) {
          EXPECT_LE(batch, channels);
        }
      }
    }
  }
}

// One plan for a length, and the same for every sequence of its bucket.
TEST_F(FftPairsTest, BatchesAreOneSizeForABucket) {
  const AttentionCase which = Table();
  const auto layer = MakeLayerState(which);
  const FftBucket bucket = BucketOf(700);
  for (const int64_t n : {bucket.shortest, bucket.longest}) {
    Run(*layer, RandomInput(which.config, n, 2), at::kFloat, {.product_bytes = 20 * 8 * 1536});
  }
  int64_t plans = 0;
  for (const auto& [batch, length, type] : device_->transformed) plans += type == at::kFloat;
  EXPECT_EQ(plans, 1);
}

TEST_F(FftPairsTest, ABucketSharesASpectrumUnlessItsWeightsGrow) {
  const FftBucket bucket = BucketOf(700);
  for (const bool grows : {false, true}) {
    // e^10 beyond every distance that the shorter sequence has.
    const auto bias = [&](int64_t, int64_t column) {
      return grows && std::abs(column - 2047) >= bucket.shortest ? 10.0 : 0.0;
    };
    const AttentionCase which = Table({}, 2048, bias);
    const auto layer = MakeLayerState(which);
    FftSpectra spectra(layer.get(), device_, int64_t{1} << 30);
    const at::Tensor first = spectra.Get(0, bucket.shortest, at::kFloat);
    EXPECT_EQ(first.size(0), bucket.length);
    EXPECT_EQ(spectra.Get(0, bucket.longest, at::kFloat).is_same(first), !grows);
    EXPECT_TRUE(spectra.Get(0, bucket.shortest, at::kFloat).is_same(first));
    // And the short sequence's result is as good as ever.
    const AttentionInput input = RandomInput(which.config, bucket.shortest, 3);
    const std::vector<int64_t> rows = SampledRows(bucket.shortest);
    EXPECT_LT(RelativeError(RowsOf(Run(*layer, input, at::kFloat), rows),
                            ReferenceOutput(which, input, rows), input),
              1e-5);
  }
}

TEST_F(FftPairsTest, SpectraAreBounded) {
  const AttentionCase which = Table();
  const auto layer = MakeLayerState(which);
  constexpr int64_t kBytes = 3 * 2048 * 8;
  FftSpectra spectra(layer.get(), device_, kBytes);
  for (const int64_t n : {1000, 800, 600, 500, 1000}) {
    for (const int head : {0, 1}) {
      spectra.Get(head, n, at::kFloat);
      EXPECT_LE(spectra.bytes(), kBytes);
    }
  }
}

// What AUTO will take is ready before the first request.
TEST_F(FftPairsTest, PreparesWhatAutoTakes) {
  const AttentionCase which = Table(
      {}, 40000, [](int64_t, int64_t column) { return std::sin(static_cast<double>(column)); });
  const auto layer = MakeLayerState(which);
  FftPairs pairs(layer.get(), device_);
  pairs.Prepare(40000, [](int64_t n) {
    return n > 20000 ? std::vector<int64_t>{0, 1} : std::vector<int64_t>{};
  });
  for (const HostFftDevice::Shape& shape : device_->prepared) {
    EXPECT_GT(std::get<1>(shape), 32768) << "nothing for lengths that AUTO computes otherwise";
  }
  const std::set<HostFftDevice::Shape> prepared = device_->prepared;
  for (const int64_t n : {39000, 40000}) {
    device_->transformed.clear();
    RouteContext context = MakeContext(*layer, RandomInput(which.config, n, 4), at::kFloat);
    context.out = at::empty(context.q.sizes());
    RunAll(*pairs.Begin(context));
    ASSERT_FALSE(device_->transformed.empty());
    for (const HostFftDevice::Shape& shape : device_->transformed) {
      EXPECT_TRUE(prepared.contains(shape)) << std::get<0>(shape) << " x " << std::get<1>(shape);
    }
  }
}

// Keys after a query weigh 1, others e^-20: the last row's denominator is lost in the rounding of
// the others', and only that row's.
TEST_F(FftPairsTest, RowsOfTinyDenominatorsAreComputedExactly) {
  constexpr int64_t kTokens = 600;
  const AttentionCase which = Table(
      {}, kTokens, [](int64_t, int64_t column) { return column > kTokens - 1 ? 0.0 : -20.0; });
  const auto layer = MakeLayerState(which);
  const AttentionInput input = RandomInput(which.config, kTokens, 9);
  FftPairs pairs(layer.get(), device_);
  RouteContext context = MakeContext(*layer, input, at::kFloat);
  context.q = input.q.clone();
  context.out = context.q;  // the rows' queries must be read before they are overwritten
  RunAll(*pairs.Begin(context));
  EXPECT_EQ(pairs.rows_recomputed(), 2) << "the last row of two heads";
  const at::Tensor expected = ReferenceOutput(which, input, {kTokens - 1});
  EXPECT_LT(RelativeError(RowsOf(context.out, {kTokens - 1}), expected, input), 0x1p-23);
}

TEST_F(FftPairsTest, InputsThatAreNotNumbersEnd) {
  const AttentionCase which = Table();
  const auto layer = MakeLayerState(which);
  AttentionInput input = RandomInput(which.config, 300, 10);
  input.v.fill_(std::nan(""));
  FftPairs pairs(layer.get(), device_);
  RouteContext context = MakeContext(*layer, input, at::kFloat);
  context.out = at::zeros(input.q.sizes());
  RunAll(*pairs.Begin(context));
  EXPECT_TRUE(at::all(at::isnan(context.out)).item<bool>());
}

// But for what is small: gathering, features, keys' maxima.
TEST_F(FftPairsTest, CostIsWhatThePassDeclares) {
  const AttentionCase which = Table();
  const auto layer = MakeLayerState(which);
  FftPairs pairs(layer.get(), device_);
  for (const int64_t n : {100, 1500}) {
    for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
      const auto pass = pairs.Begin(MakeContext(*layer, RandomInput(which.config, n, 6), type));
      const AttentionCost cost = FftPairsCost(layer->shape, layer->shape.heads, n, type);
      double flops = 0;
      double largest = 0;
      for (int phase = 0; phase < pass->phases(); ++phase) {
        flops += pass->PieceFlops(phase) * static_cast<double>(pass->Pieces(phase));
        largest = std::max(largest, pass->PieceFlops(phase));
      }
      EXPECT_NEAR(cost.flops / flops, 1, 0.05) << n;
      EXPECT_NEAR(cost.largest_piece_flops / largest, 1, 1e-9) << n;
      EXPECT_EQ(cost.bytes, pass->ResidentBytes()) << n;
    }
  }
}

TEST_F(FftPairsTest, OutMayBeTheMemoryOfQ) {
  const AttentionCase which = Table();
  const auto layer = MakeLayerState(which);
  const AttentionInput input = RandomInput(which.config, 500, 5);
  const at::Tensor apart = Run(*layer, input, at::kFloat);
  FftPairs pairs(layer.get(), device_);
  RouteContext context = MakeContext(*layer, input, at::kFloat);
  context.q = input.q.clone();
  context.out = context.q;
  RunAll(*pairs.Begin(context));
  EXPECT_TRUE(at::equal(context.out, apart));
}

}  // namespace
}  // namespace longwave
