// What guards the FFT route: per head the row sums of C decide the precision, per row the
// denominator decides whether transforms will do. Biases that transforms are good and bad at:
// peaks, growth, decay, causal ones.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/attention/attention.h"
#include "model/attention/routes/fft.h"
#include "tests/property/attention_cases.h"

namespace longwave {
namespace {

constexpr int64_t kTokens = 2048;
// Above this an output is wrong, below kFine nothing need be done. What decides per head predicts
// errors without knowing q, k and v and takes fp64 from 1e-6 on; errors stay below a tenth of that.
constexpr double kWrong = 1e-3;
constexpr double kFine = 1e-6;
constexpr double kFineForHeads = 1e-7;
// Of a row that is just above the limit of 100 u max D: its error is up to 0.4 u max D / D_i.
constexpr double kRowsLeft = 4e-3;

struct GuardCase {
  std::string name;
  bool causal = false;
  std::function<double(int64_t offset)> bias;
};

std::vector<GuardCase> GuardCases() {
  std::vector<GuardCase> cases;
  const auto add = [&](std::string name, double size, bool causal,
                       std::function<double(int64_t)> bias) {
    cases.push_back({name + std::to_string(static_cast<int>(size)), causal, std::move(bias)});
  };
  for (const double height : {5.0, 10.0, 15.0, 20.0, 25.0}) {
    add("Peak", height, false, [=](int64_t o) { return o == 3 ? height : 0.0; });
  }
  for (const double depth : {5.0, 20.0, 40.0}) {
    add("Decay", depth, false, [=](int64_t o) { return -depth * std::abs(o) / kTokens; });
  }
  for (const double height : {5.0, 10.0, 20.0, 40.0}) {
    add("Growth", height, false, [=](int64_t o) { return height * std::abs(o) / kTokens; });
  }
  add("CausalFlat", 0, true, [](int64_t) { return 0.0; });
  std::vector<double> noise(kTokens);
  std::mt19937_64 generator(3);
  std::normal_distribution<double> normal(0, 2);
  for (double& value : noise) value = normal(generator);
  add("CausalNoise", 2, true, [=](int64_t o) { return noise[std::abs(o)]; });
  return cases;
}

AttentionCase MakeLayer(const GuardCase& guard) {
  AttentionConfig attention;
  attention.causal = guard.causal;
  attention.bias = {.kind = BiasKind::kTable, .table_length = kTokens};
  return MakeCase(
      {.name = guard.name,
       .attention = attention,
       .max_tokens = kTokens,
       .bias = [&](int64_t, int64_t column) { return guard.bias(column - (kTokens - 1)); }});
}

// Algorithm 1 in fp32 by the library's transforms, without any guard.
at::Tensor Unguarded(const LayerState& layer, const AttentionInput& input) {
  const int64_t length = 2 * kTokens;
  at::Tensor out = at::empty_like(input.q);
  for (int64_t h = 0; h < layer.shape.heads; ++h) {
    const BoundFeatures features = layer.features.Bind({h}, at::kFloat);
    const auto phi = [&](const at::Tensor& rows) { return rows.select(1, h).unsqueeze(0); };
    const at::Tensor queries = features.Queries(phi(input.q)).select(0, 0).t().contiguous();
    const at::Tensor keys = features.Keys(phi(input.k), at::Tensor()).select(0, 0).t();
    const std::vector<double> c =
        layer.weights.Range(static_cast<int>(h), 1 - kTokens, kTokens - 1);
    std::vector<double> kernel(length, 0);
    for (int64_t t = 0; t < kTokens; ++t) {
      kernel[t] = c[kTokens - 1 - t];
      if (t > 0) kernel[length - t] = c[kTokens - 1 + t];
    }
    const at::Tensor spectrum = at::fft_rfft(at::tensor(kernel, at::kDouble).to(at::kFloat));
    const at::Tensor values =
        at::cat({input.v.select(1, h), at::ones({kTokens, 1}, at::kFloat)}, 1).t();
    const at::Tensor products = at::fft_irfft(
        at::fft_rfft(keys.unsqueeze(1) * values.unsqueeze(0), length) * spectrum, length);
    const at::Tensor sums = at::sum(products.narrow(2, 0, kTokens) * queries.unsqueeze(1), {0});
    const int64_t d = input.v.size(2);
    out.select(1, h).copy_((sums.narrow(0, 0, d) / sums.narrow(0, d, 1)).t());
  }
  return out;
}

double Error(const at::Tensor& out, const at::Tensor& expected, const AttentionInput& input) {
  const double error = RelativeError(out, expected, input);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

class FftGuardTest : public ::testing::TestWithParam<GuardCase> {
 protected:
  FftGuardTest() { at::set_num_threads(1); }

 private:
  const c10::InferenceMode inference_;
};

TEST_P(FftGuardTest, FlagsWhatIsWrongAndNothingThatIsFine) {
  const AttentionCase which = MakeLayer(GetParam());
  const std::unique_ptr<LayerState> layer = MakeLayerState(which);
  const AttentionInput input = RandomInput(which.config, kTokens, 900);
  const at::Tensor expected = ReferenceOutput(which, input, AllRows(kTokens));
  const double unguarded = Error(Unguarded(*layer, input), expected, input);

  // The heads' guard.
  const Precision precision = FftPrecision(layer->weights.RowSumRatio(0, kTokens), true);
  const bool head_flagged = precision != Precision::kFp32;
  EXPECT_TRUE(head_flagged || unguarded <= kWrong) << unguarded;
  EXPECT_TRUE(!head_flagged || unguarded >= kFineForHeads) << unguarded;

  // The rows' guard by itself.
  const CpuFft fft(layer.get(), cpu::FindKernels("auto"));
  const RouteContext context = MakeContext(*layer, input, at::kFloat);
  const auto pass = fft.Begin(context);
  RunAll(*pass);
  EXPECT_TRUE(pass->status().ok()) << pass->status();
  const bool row_flagged = fft.rows_recomputed() > 0;
  EXPECT_TRUE(row_flagged || unguarded <= kWrong) << unguarded;
  EXPECT_TRUE(!row_flagged || unguarded >= kFine) << unguarded;
  EXPECT_LE(Error(context.out, expected, input), kRowsLeft);

  // What is served.
  const auto attention = CreateAttention(which.config, which.weights, 0, "cpu");
  ASSERT_TRUE(attention.ok()) << attention.status();
  EXPECT_LE(Error(RunRoute(**attention, Route::kFft, input), expected, input), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Biases, FftGuardTest, ::testing::ValuesIn(GuardCases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace longwave
