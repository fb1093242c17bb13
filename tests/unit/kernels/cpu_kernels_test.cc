// Every instruction set that this machine runs, against plain loops in double.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "model/kernels/cpu/kernels.h"
#include "tests/unit/kernels/kernel_operands.h"

namespace longwave::cpu {
namespace {

TEST_P(CpuKernelsTest, TileIsTheWeightedProductOfScoresAndValues) {
  for (const int64_t rows : {int64_t{1}, int64_t{5}, int64_t{47}, kRowBlock}) {
    for (const int64_t keys : {1, 16, 17, 48, 80, 240}) {
      Floats q = Random(rows * PaddedColumns(m()), 1, 0.01f, 2);
      Floats k = Keys(keys), v = Values(keys);
      Floats c = Random(rows + RoundUp(keys, kKeyGroup), 4, 0, 1);
      Floats sums(rows * columns(), 0.5f), weights(rows * kKeyGroup);
      const Tile tile = {rows, KeyGroups(keys), q.data(), k.data(), v.data(), c.data() + rows - 1};
      kernels().accumulate_tile(shape(), tile, sums.data(), weights.data());
      for (int64_t a = 0; a < rows; ++a) {
        double denominator = 0;
        std::vector<double> numerator(d(), 0.5);
        std::vector<double> magnitude(d(), 0.5);
        for (int64_t j = 0; j < keys; ++j) {
          double score = 0;
          for (int64_t r = 0; r < m(); ++r) {
            score += static_cast<double>(q[a * PaddedColumns(m()) + r]) * k[KeyIndex(j, r)];
          }
          score *= c[rows - 1 + j - a];
          denominator += score;
          for (int64_t x = 0; x < d(); ++x) {
            numerator[x] += score * v[j * columns() + x];
            magnitude[x] += score * std::abs(v[j * columns() + x]);
          }
        }
        double actual = 0;
        for (int64_t i = 0; i < kKeyGroup; ++i) actual += weights[a * kKeyGroup + i];
        const int64_t terms = m() + keys;
        ASSERT_NEAR(actual, denominator, Tolerance(denominator, terms)) << rows << " " << keys;
        for (int64_t x = 0; x < d(); ++x) {
          ASSERT_NEAR(sums[a * columns() + x], numerator[x], Tolerance(magnitude[x], terms))
              << rows << " x " << keys << ", row " << a << ", column " << x;
        }
      }
    }
  }
}

TEST_P(CpuKernelsTest, StateIsTheDecayedSumOfWeightedKeysTimesValues) {
  for (const int64_t keys : {3, 16, 33, 48}) {
    for (const bool weighted : {false, true}) {
      const float decay = weighted ? 0.25f : 1.0f;
      Floats k = Keys(keys), v = Values(keys), w = Random(kRowBlock, 5, 0, 1);
      Floats state = Random(StateFloats(m(), d()), 6, 0, 1);
      const std::vector<float> before = state.Copy();
      kernels().accumulate_state(shape(), KeyGroups(keys), k.data(), v.data(),
                                 weighted ? w.data() : nullptr, decay, state.data());
      for (int64_t r = 0; r < m(); ++r) {
        for (int64_t x = 0; x <= d(); ++x) {
          const int64_t place = x < d() ? r * columns() + x : m() * columns() + r;
          double sum = static_cast<double>(decay) * before[place];
          double magnitude = sum;
          for (int64_t j = 0; j < keys; ++j) {
            const double term = static_cast<double>(k[KeyIndex(j, r)]) * (weighted ? w[j] : 1) *
                                (x < d() ? v[j * columns() + x] : 1);
            sum += term;
            magnitude += std::abs(term);
          }
          ASSERT_NEAR(state[place], sum, Tolerance(magnitude, keys))
              << keys << " " << r << " " << x;
        }
      }
    }
  }
}

TEST_P(CpuKernelsTest, ApplyingAStateIsAProductScaledByRow) {
  for (const int64_t rows : {int64_t{1}, int64_t{7}, kRowBlock}) {
    for (const bool scaled : {false, true}) {
      Floats q = Random(rows * PaddedColumns(m()), 1, 0.01f, 2);
      Floats state = Random(StateFloats(m(), d()), 6, 0, 1);
      for (int64_t r = m(); r < PaddedColumns(m()); ++r) state[m() * columns() + r] = 0;
      Floats factors = Random(rows, 7, 0, 1);
      Floats sums(rows * columns()), weights(rows * kKeyGroup);
      kernels().apply_state(shape(), rows, q.data(), state.data(),
                            scaled ? factors.data() : nullptr, sums.data(), weights.data());
      for (int64_t a = 0; a < rows; ++a) {
        for (int64_t x = 0; x <= d(); ++x) {
          double sum = 0;
          for (int64_t r = 0; r < m(); ++r) {
            sum += static_cast<double>(q[a * PaddedColumns(m()) + r]) *
                   state[x < d() ? r * columns() + x : m() * columns() + r];
          }
          if (scaled) sum *= factors[a];
          double actual = sums[a * columns() + std::min(x, d() - 1)];
          if (x == d()) {
            actual = 0;
            for (int64_t i = 0; i < kKeyGroup; ++i) actual += weights[a * kKeyGroup + i];
          }
          ASSERT_NEAR(actual, sum, Tolerance(sum, m() + kKeyGroup)) << rows << " " << a << " " << x;
        }
      }
    }
  }
}

TEST_P(CpuKernelsTest, FeaturesAreTheDefinition) {
  const float scale = 1.5f;
  const int64_t stride = d() + 3;
  for (const int64_t count : {int64_t{1}, int64_t{16}, int64_t{31}, kRowBlock}) {
    Floats rows = Random(count * stride, 8, -2, 2);
    // A zero row, one whose squares overflow, one whose squares vanish.
    if (count > 3) {
      for (int64_t c = 0; c < d(); ++c) {
        rows[0 * stride + c] = 0;
        rows[1 * stride + c] *= 1e30f;
        rows[2 * stride + c] *= 1e-35f;
      }
    }
    Floats w = Random(m() * d(), 9, -1, 1), transposed(d() * PaddedColumns(m()));
    for (int64_t r = 0; r < m(); ++r) {
      for (int64_t c = 0; c < d(); ++c) transposed[c * PaddedColumns(m()) + r] = w[r * d() + c];
    }
    const HeadFeatures map = {HeadFeatures::Kind::kExponential,
                              d(),
                              m(),
                              scale,
                              static_cast<float>(0.5 * std::log(static_cast<double>(m()))),
                              w.data(),
                              transposed.data()};
    Floats scratch(FeatureScratchFloats(d()));
    Floats q(count * PaddedColumns(m()));
    Floats k(KeyGroups(count) * m() * kKeyGroup, 7);
    kernels().query_features(map, {rows.data(), stride}, count, scratch.data(), q.data());
    kernels().key_features(map, {rows.data(), stride}, count, scratch.data(), k.data());
    for (int64_t j = 0; j < RoundUp(count, kKeyGroup); ++j) {
      double norm = 0;
      for (int64_t c = 0; c < d() && j < count; ++c) {
        norm += static_cast<double>(rows[j * stride + c]) * rows[j * stride + c];
      }
      norm = std::sqrt(norm);
      for (int64_t r = 0; r < m(); ++r) {
        if (j >= count) {
          ASSERT_EQ(k[KeyIndex(j, r)], 0);
          continue;
        }
        double exponent = 0, magnitude = 1;
        for (int64_t c = 0; c < d() && norm > 0; ++c) {
          const double term = static_cast<double>(w[r * d() + c]) * rows[j * stride + c] / norm;
          exponent += scale * term;
          magnitude += std::abs(scale * term);
        }
        const double phi = std::exp(exponent - (norm > 0 ? 0.5 * scale * scale : 0)) /
                           std::sqrt(static_cast<double>(m()));
        // The exponent's rounding, and two units of the exponential's own.
        const double tolerance = phi * (Tolerance(magnitude, d() + 4) + 4 * kEpsilon);
        ASSERT_NEAR(q[j * PaddedColumns(m()) + r], phi, tolerance) << count << " " << j;
        ASSERT_NEAR(k[KeyIndex(j, r)], phi, tolerance) << count << " " << j << " " << r;
      }
    }
  }
}

TEST_P(CpuKernelsTest, EluFeaturesAreTheDefinition) {
  const int64_t count = 19;
  Floats rows = Random(count * d(), 8, -2, 2);
  const HeadFeatures map = {.kind = HeadFeatures::Kind::kElu, .head_dim = d(), .features = d()};
  Floats scratch(FeatureScratchFloats(d()));
  Floats q(count * columns()), k(KeyGroups(count) * d() * kKeyGroup, 7);
  kernels().query_features(map, {rows.data(), d()}, count, scratch.data(), q.data());
  kernels().key_features(map, {rows.data(), d()}, count, scratch.data(), k.data());
  for (int64_t j = 0; j < RoundUp(count, kKeyGroup); ++j) {
    double norm = 0;
    for (int64_t c = 0; c < d() && j < count; ++c) {
      norm += static_cast<double>(rows[j * d() + c]) * rows[j * d() + c];
    }
    for (int64_t c = 0; c < d(); ++c) {
      const float actual = k[(j / kKeyGroup * d() + c) * kKeyGroup + j % kKeyGroup];
      if (j >= count) {
        ASSERT_EQ(actual, 0);
        continue;
      }
      const double x = rows[j * d() + c] / std::sqrt(norm);
      const double phi = x > 0 ? x + 1 : std::exp(x);
      ASSERT_NEAR(actual, phi, phi * Tolerance(1, d()));
      ASSERT_NEAR(q[j * columns() + c], phi, phi * Tolerance(1, d()));
    }
  }
}

TEST_P(CpuKernelsTest, PackedValuesArePaddedWithZeros) {
  const int64_t count = 21, stride = d() + 5;
  Floats rows = Random(count * stride, 10, 1, 2);
  Floats packed(RoundUp(count, kKeyGroup) * columns(), 7);
  kernels().pack_values({rows.data(), stride}, count, d(), packed.data());
  for (int64_t j = 0; j < RoundUp(count, kKeyGroup); ++j) {
    for (int64_t c = 0; c < columns(); ++c) {
      const float expected = j < count && c < d() ? rows[j * stride + c] : 0;
      ASSERT_EQ(packed[j * columns() + c], expected) << j << " " << c;
    }
  }
}

TEST_P(CpuKernelsTest, DivideCountsRowsWithoutAResult) {
  const int64_t rows = 6, stride = d() + 2;
  Floats sums = Random(rows * columns(), 11, 1, 2), weights(rows * kKeyGroup, 0.25f);
  Floats out(rows * stride, 7);
  EXPECT_EQ(kernels().divide(shape(), rows, sums.data(), weights.data(), out.data(), stride), 0);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < d(); ++c) {
      ASSERT_NEAR(out[r * stride + c], sums[r * columns() + c] / 4, kEpsilon);
    }
    ASSERT_EQ(out[r * stride + d()], r + 1 < rows ? 7 : out[r * stride + d()]);
  }
  const float infinity = std::numeric_limits<float>::infinity();
  sums[1 * columns() + d() - 1] = std::numeric_limits<float>::quiet_NaN();
  sums[2 * columns()] = infinity;
  for (int64_t i = 0; i < kKeyGroup; ++i) weights[3 * kKeyGroup + i] = 0;
  weights[4 * kKeyGroup] = infinity;
  EXPECT_EQ(kernels().divide(shape(), rows, sums.data(), weights.data(), out.data(), stride), 4);
}

TEST_P(CpuKernelsTest, MultiplyIsAProductOfMatrices) {
  for (const int64_t rows : {1, 7, 50}) {
    for (const int64_t depth : {1, 33, 200}) {
      const int64_t a_stride = depth + 3, b_stride = columns() + 16, out_stride = columns() + 32;
      Floats a = Random(rows * a_stride, 14, -1, 1), b = Random(depth * b_stride, 15, -1, 1);
      Floats out(rows * out_stride, 7), scratch(ProductScratchFloats(depth));
      kernels().multiply(rows, depth, columns(), a.data(), a_stride, b.data(), b_stride,
                         scratch.data(), out.data(), out_stride);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < columns(); ++c) {
          double sum = 0, magnitude = 0;
          for (int64_t k = 0; k < depth; ++k) {
            const double term = static_cast<double>(a[r * a_stride + k]) * b[k * b_stride + c];
            sum += term;
            magnitude += std::abs(term);
          }
          ASSERT_NEAR(out[r * out_stride + c], sum, Tolerance(magnitude, depth));
        }
        ASSERT_EQ(out[r * out_stride + columns()], 7);
      }
    }
  }
}

TEST_P(CpuKernelsTest, CombineAddsScaledStates) {
  const int64_t count = StateFloats(m(), d());
  Floats x = Random(count, 12, -1, 1), y = Random(count, 13, -1, 1), out(count);
  kernels().combine(count, 0.75f, x.data(), -0.5f, y.data(), out.data());
  for (int64_t i = 0; i < count; ++i) ASSERT_NEAR(out[i], 0.75 * x[i] - 0.5 * y[i], 2 * kEpsilon);
}

INSTANTIATE_TEST_SUITE_P(AllTargets, CpuKernelsTest, AllTargetsAndShapes(), NameOf);

TEST(SupportedKernelsTest, PlainCodeIsAlwaysThereAndBestIsFirst) {
  const std::vector<const Kernels*> supported = SupportedKernels();
  ASSERT_FALSE(supported.empty());
  EXPECT_STREQ(supported.back()->name, "scalar");
  EXPECT_EQ(FindKernels("auto"), supported.front());
  EXPECT_EQ(FindKernels("scalar"), supported.back());
  EXPECT_EQ(FindKernels("mmx"), nullptr);
}

TEST(ThreadScratchTest, GrowsAndStays) {
  float* const small = ThreadScratch(100);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(small) % 64, 0);
  float* const large = ThreadScratch(100000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(large) % 64, 0);
  EXPECT_EQ(ThreadScratch(50), large);
}

}  // namespace
}  // namespace longwave::cpu
