#include "model/attention/interpolation.h"

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/attention/bias_weights.h"

namespace longwave {
namespace {

using ::testing::HasSubstr;

struct Kernel {
  std::string name;
  std::function<double(int64_t)> b;
};

std::vector<Kernel> SmoothKernels() {
  const auto power = [](double a) {
    return [a](int64_t o) { return -a * std::log1p(static_cast<double>(std::abs(o))); };
  };
  return {{"power 0.5", power(0.5)},
          {"power 2", power(2)},
          {"logarithmic ripple",
           [](int64_t o) {
             const double x = std::log1p(static_cast<double>(std::abs(o)));
             return 0.5 * std::sin(2 * x) - 0.3 * x + (o < 0 ? 0.1 : 0);
           }},
          {"gentle decay", [](int64_t o) { return -0.001 * static_cast<double>(std::abs(o)); }},
          {"flat", [](int64_t) { return 0.0; }}};
}

// max |c^ / c - 1| over all far pairs of a sequence, from the definition.
double MeasuredError(const ExtendedWeights& weights, const InterpolationGrid& grid, int64_t n) {
  double error = 0;
  const int64_t block = grid.block;
  const int64_t nodes = static_cast<int64_t>(grid.nodes.size());
  for (int64_t i = 0; i < n; i += 37) {
    for (int64_t j = 0; j < n; j += 29) {
      if (std::abs(i / block - j / block) < 2) continue;
      if (weights.weights().causal() && j > i) continue;
      double sum = 0;
      for (int64_t a = 0; a < nodes; ++a) {
        for (int64_t b = 0; b < nodes; ++b) {
          const int64_t offset = (j / block - i / block) * block + grid.nodes[b] - grid.nodes[a];
          sum += grid.L(a, i % block) * grid.L(b, j % block) * weights.At(offset);
        }
      }
      error = std::max(error, std::abs(sum / weights.At(j - i) - 1));
    }
  }
  return error;
}

TEST(InterpolationGridTest, ReproducesPolynomialsBelowItsNodes) {
  for (const int64_t block : InterpolationCertificates::kBlocks) {
    for (int64_t nodes = 3; nodes <= 8; ++nodes) {
      const InterpolationGrid grid = MakeInterpolationGrid(block, nodes);
      EXPECT_LT(grid.lebesgue, 2.7);
      for (int64_t a = 0; a < nodes; ++a) {
        // The middle of an even block is no node.
        EXPECT_NEAR(grid.nodes[a] + grid.nodes[nodes - 1 - a], block - 1, 1);
        EXPECT_EQ(grid.L(a, grid.nodes[a]), 1);
      }
      for (int64_t x = 0; x < block; x += 13) {
        double power = 0;
        double value = std::pow(static_cast<double>(x) / static_cast<double>(block), nodes - 1);
        for (int64_t a = 0; a < nodes; ++a) {
          power +=
              grid.L(a, x) *
              std::pow(static_cast<double>(grid.nodes[a]) / static_cast<double>(block), nodes - 1);
        }
        EXPECT_NEAR(power, value, 1e-12);
      }
    }
  }
}

TEST(InterpolationBlockTest, GrowsWithTheLength) {
  EXPECT_EQ(InterpolationBlock(1), 128);
  EXPECT_EQ(InterpolationBlock(4096), 128);
  EXPECT_EQ(InterpolationBlock(16384), 256);
  EXPECT_EQ(InterpolationBlock(65536), 512);
  EXPECT_EQ(InterpolationBlock(262144), 512);
  EXPECT_EQ(InterpolationBlock(1 << 20), 1024);
}

TEST(InterpolationErrorTest, BoundsWhatIsMeasured) {
  for (const bool causal : {false, true}) {
    for (const Kernel& kernel : SmoothKernels()) {
      // The last block is not whole, and reaches beyond the table.
      const int64_t n = 5001;
      const ToeplitzWeights weights = TableWeights(n, causal, kernel.b);
      const ExtendedWeights extended(weights, 0);
      for (const int64_t nodes : {3, 5, 7}) {
        const InterpolationGrid grid = MakeInterpolationGrid(128, nodes);
        const double bound = InterpolationError(extended, grid, 1e300);
        const double measured = MeasuredError(extended, grid, n);
        EXPECT_LE(measured, bound) << kernel.name << " " << nodes;
        // Floats of b hold it to 2^-24 |b|, which the nodes cannot follow.
        EXPECT_LE(bound, 60 * measured + 1e-4) << kernel.name << " " << nodes;
      }
    }
  }
}

TEST(InterpolationCertificatesTest, TakeTheFewestNodesThatAreWithinTheLimit) {
  const ToeplitzWeights weights = TableWeights(20000, false, SmoothKernels()[0].b);
  const InterpolationCertificates loose(weights, 1e-2);
  const InterpolationCertificates strict(weights, 1e-4);
  for (const int64_t n : {1, 8000, 20000}) {
    ASSERT_EQ(loose.Refusal(n), "");
    ASSERT_EQ(strict.Refusal(n), "");
    EXPECT_LE(loose.at(0, n).error, 1e-2);
    EXPECT_LE(strict.at(0, n).error, 1e-4);
    EXPECT_LT(loose.at(0, n).nodes, strict.at(0, n).nodes);
  }
}

TEST(InterpolationCertificatesTest, RefuseWhatIsNotSmoothAndSayWhy) {
  const auto noise = [](int64_t o) { return 0.1 * std::sin(13.0 * static_cast<double>(o)); };
  const auto step = [](int64_t o) { return std::abs(o) < 700 ? 0.0 : -0.1; };
  const auto spike = [](int64_t o) { return o == 3000 ? 0.05 : 0.0; };
  const auto steep = [](int64_t o) { return -0.5 * static_cast<double>(std::abs(o)); };
  for (const auto& b : std::vector<std::function<double(int64_t)>>{noise, step, spike, steep}) {
    const InterpolationCertificates certificates(TableWeights(4096, false, b), 1e-3);
    EXPECT_THAT(certificates.Refusal(4096), HasSubstr("head 0"));
    EXPECT_FALSE(certificates.Covers(0, 4096));
  }
  // Ahead of a causal query nothing has to be smooth.
  const auto ahead = [](int64_t o) {
    return o > 0 ? std::sin(13.0 * static_cast<double>(o)) : 0.0;
  };
  EXPECT_EQ(InterpolationCertificates(TableWeights(4096, true, ahead), 1e-3).Refusal(4096), "");
  EXPECT_THAT(InterpolationCertificates().Refusal(10), HasSubstr("attention.interpolation"));
}

}  // namespace
}  // namespace longwave
