#include "model/encoder/linear.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <utility>
#include <vector>

namespace longwave {
namespace {

constexpr int64_t kRows = kCpuTileRows;

// Shapes of real models, and some that fit no register block.
std::vector<std::pair<int64_t, int64_t>> Shapes() {
  return {{64, 192},   {64, 256},   {256, 64},   {256, 768},  {256, 1024}, {1024, 256},
          {384, 1536}, {1536, 384}, {768, 2304}, {768, 3072}, {3072, 768}, {48, 144},
          {112, 48},   {33, 65},    {7, 3},      {1, 1}};
}

class LinearTest : public testing::Test {
 protected:
  LinearTest() { at::set_num_threads(1); }
  c10::InferenceMode inference_;
};

double Gelu(double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }
double GeluTanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

double Apply(PostOp post_op, double x) {
  switch (post_op) {
    case PostOp::kGelu:
      return Gelu(x);
    case PostOp::kGeluTanh:
      return GeluTanh(x);
    case PostOp::kRelu:
      return std::max(x, 0.0);
    default:
      return x;
  }
}

TEST_F(LinearTest, AgreesWithDouble) {
  for (const auto& [inputs, outputs] : Shapes()) {
    at::manual_seed(inputs);
    const at::Tensor weight = at::randn({outputs, inputs}) / std::sqrt(inputs);
    const at::Tensor bias = at::randn({outputs});
    const at::Tensor x = at::randn({kRows, inputs});
    for (const bool with_bias : {true, false}) {
      const Linear linear(weight, with_bias ? bias : at::Tensor(), kRows);
      at::Tensor exact = at::mm(x.to(at::kDouble), weight.t().to(at::kDouble));
      if (with_bias) exact.add_(bias);
      // |computed - exact| <= (inputs + 2) u (|x| |W|^T + |b|), the classical bound of a sum of
      // products in fp32; all three activations have slopes below 1.13, and their own rounding and
      // approximation (oneDNN's tanh GELU: below 1e-6) comes on top.
      at::Tensor bound = at::mm(x.abs().to(at::kDouble), weight.t().abs().to(at::kDouble));
      if (with_bias) bound.add_(bias.abs());
      bound.mul_(1.13 * static_cast<double>(inputs + 2) * std::ldexp(1, -24)).add_(1e-6);
      for (const PostOp post_op :
           {PostOp::kNone, PostOp::kGelu, PostOp::kGeluTanh, PostOp::kRelu}) {
        const at::Tensor y = linear.Apply(x, post_op);
        ASSERT_EQ(y.sizes(), (std::vector<int64_t>{kRows, outputs}));
        ASSERT_TRUE(y.is_contiguous());
        for (int64_t i = 0; i < y.numel(); ++i) {
          ASSERT_NEAR(y.data_ptr<float>()[i], Apply(post_op, exact.data_ptr<double>()[i]),
                      bound.data_ptr<double>()[i])
              << inputs << " to " << outputs << ", value " << i;
        }
      }
    }
  }
}

// The property on which batch-invariance rests: in a product of one height, a row's bits depend on
// that row alone.
TEST_F(LinearTest, ARowHasTheSameBitsAtEveryPositionAmongAnyMates) {
  for (const auto& [inputs, outputs] : Shapes()) {
    at::manual_seed(outputs);
    const Linear linear(at::randn({outputs, inputs}), at::randn({outputs}), kRows);
    const at::Tensor row = at::randn({1, inputs});
    for (const PostOp post_op : {PostOp::kNone, PostOp::kGelu, PostOp::kGeluTanh, PostOp::kRelu}) {
      // At every position, its mates being copies of it.
      const at::Tensor y = linear.Apply(row.expand({kRows, inputs}).contiguous(), post_op);
      const at::Tensor expected = y.narrow(0, 0, 1);
      ASSERT_TRUE(at::equal(y, expected.expand({kRows, outputs}))) << inputs << " to " << outputs;
      // Among strangers.
      for (const int64_t position : {0, 1, 6, 31, 32, 50, 63}) {
        at::Tensor x = at::randn({kRows, inputs});
        x.narrow(0, position, 1).copy_(row);
        ASSERT_TRUE(at::equal(linear.Apply(x, post_op).narrow(0, position, 1), expected))
            << inputs << " to " << outputs << ", position " << position;
      }
    }
  }
}

TEST_F(LinearTest, TakesRowsWithAStride) {
  const Linear linear(at::randn({96, 48}), at::randn({96}), kRows);
  const at::Tensor wide = at::randn({kRows, 144});
  const at::Tensor x = wide.narrow(1, 48, 48);
  EXPECT_TRUE(
      at::equal(linear.Apply(x, PostOp::kNone), linear.Apply(x.contiguous(), PostOp::kNone)));
}

}  // namespace
}  // namespace longwave
