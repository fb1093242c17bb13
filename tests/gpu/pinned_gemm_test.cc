#include "model/kernels/cuda/pinned_gemm.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "tests/gpu/device_fixture.h"

namespace longwave::cuda {
namespace {

constexpr int64_t kRows = 2048;

// Rounded to `bits` significant bits, to the nearest.
float Rounded(float value, int bits) {
  int exponent = 0;
  const float fraction = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(fraction, bits)), exponent - bits);
}

uint16_t ToBf16(float value) {
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(Rounded(value, 8)) >> 16);
}

class PinnedGemmTest : public DeviceTest {
 protected:
  // y of the device for fp32 inputs.
  static std::vector<float> Multiply(const GemmShape& shape, const std::vector<float>& x,
                                     const std::vector<float>& weight,
                                     const std::vector<float>& bias) {
    const PinnedGemm gemm(/*device=*/0, shape);
    DeviceArray<float> device_bias(bias);
    DeviceArray<float> y(std::vector<float>(shape.rows * shape.outputs, NAN));
    const float* const b = shape.bias ? device_bias.data() : nullptr;
    if (shape.type == GemmType::kBf16) {
      std::vector<uint16_t> x16(x.size());
      std::vector<uint16_t> weight16(weight.size());
      for (size_t i = 0; i < x.size(); ++i) x16[i] = ToBf16(x[i]);
      for (size_t i = 0; i < weight.size(); ++i) weight16[i] = ToBf16(weight[i]);
      DeviceArray<uint16_t> device_x(x16);
      DeviceArray<uint16_t> device_weight(weight16);
      gemm.Run(device_x.data(), device_weight.data(), b, y.data(), nullptr);
      return y.Host();
    }
    DeviceArray<float> device_x(x);
    DeviceArray<float> device_weight(weight);
    gemm.Run(device_x.data(), device_weight.data(), b, y.data(), nullptr);
    return y.Host();
  }

  static std::vector<GemmShape> Shapes() {
    std::vector<GemmShape> shapes;
    for (const GemmType type : {GemmType::kFp32, GemmType::kTf32, GemmType::kBf16}) {
      for (const auto& [inputs, outputs] :
           {std::pair<int64_t, int64_t>{64, 192}, {384, 1152}, {1536, 384}}) {
        for (const bool bias : {true, false}) {
          shapes.push_back(
              {.rows = kRows, .inputs = inputs, .outputs = outputs, .bias = bias, .type = type});
        }
      }
    }
    return shapes;
  }
};

// Sums in fp32: (inputs + 2) roundings of the sum of magnitudes at most; tf32 may cut off what it
// does not round, one more bit of each factor.
TEST_F(PinnedGemmTest, AgreesWithDouble) {
  for (const GemmShape& shape : Shapes()) {
    const auto x = RandomReals<float>(shape.rows * shape.inputs, 1);
    const auto weight = RandomReals<float>(shape.outputs * shape.inputs, 2);
    const auto bias = RandomReals<float>(shape.outputs, 3);
    const std::vector<float> y = Multiply(shape, x, weight, bias);
    const int bits = shape.type == GemmType::kBf16 ? 8 : 24;
    const double factor_error = shape.type == GemmType::kTf32 ? 0x1p-9 : 0;
    for (int64_t row = 0; row < shape.rows; row += 97) {
      for (int64_t out = 0; out < shape.outputs; ++out) {
        double sum = shape.bias ? bias[out] : 0;
        double magnitudes = std::abs(sum);
        for (int64_t i = 0; i < shape.inputs; ++i) {
          const double term = static_cast<double>(Rounded(x[row * shape.inputs + i], bits)) *
                              static_cast<double>(Rounded(weight[out * shape.inputs + i], bits));
          sum += term;
          magnitudes += std::abs(term);
        }
        const double tolerance =
            (static_cast<double>(shape.inputs + 2) * 0x1p-24 + factor_error) * magnitudes;
        ASSERT_NEAR(y[row * shape.outputs + out], sum, tolerance) << row << ", " << out;
      }
    }
  }
}

// What batch-invariance rests on: a row has the same bits wherever it stands, whatever is above.
TEST_F(PinnedGemmTest, ARowsBitsDoNotDependOnItsPlace) {
  for (const GemmShape& shape : Shapes()) {
    auto x = RandomReals<float>(shape.rows * shape.inputs, 4);
    const auto weight = RandomReals<float>(shape.outputs * shape.inputs, 5);
    const auto bias = RandomReals<float>(shape.outputs, 6);
    const std::vector<float> before = Multiply(shape, x, weight, bias);
    // Every row moves by 389, a prime, so that it lands in every place of a block of rows.
    std::vector<float> moved(x.size());
    const auto new_row = [](int64_t row) { return (row + 389) % kRows; };
    for (int64_t row = 0; row < shape.rows; ++row) {
      std::memcpy(&moved[new_row(row) * shape.inputs], &x[row * shape.inputs],
                  shape.inputs * sizeof(float));
    }
    const std::vector<float> after = Multiply(shape, moved, weight, bias);
    for (int64_t row = 0; row < shape.rows; ++row) {
      ASSERT_EQ(std::memcmp(&before[row * shape.outputs], &after[new_row(row) * shape.outputs],
                            shape.outputs * sizeof(float)),
                0)
          << "row " << row << " of " << shape.inputs << " x " << shape.outputs;
    }
  }
}

}  // namespace
}  // namespace longwave::cuda
