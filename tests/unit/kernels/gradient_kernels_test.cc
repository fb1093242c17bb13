// The kernels of the backward pass, every instruction set against plain loops in double.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "model/kernels/cpu/kernels.h"
#include "tests/unit/kernels/kernel_operands.h"

namespace longwave::cpu {
namespace {

using GradientKernelsTest = CpuKernelsTest;

// A sum in double beside the sum of its terms' magnitudes.
struct Sum {
  double value = 0;
  double magnitude = 0;
  void Add(double term) {
    value += term;
    magnitude += std::abs(term);
  }
};

// Everything that a tile reads, and its five sums by the definition.
struct TileCase {
  int64_t rows, keys, m, d;
  Floats queries, row_grads, out_grads, phi, phi_rows, values, weights;
  std::vector<Sum> by_query, by_key, by_value, by_bias;

  double Weight(int64_t a, int64_t j) const { return weights[rows - 1 + j - a]; }
  Sum Score(int64_t a, int64_t j) const {
    Sum sum;
    for (int64_t r = 0; r < m; ++r) {
      sum.Add(static_cast<double>(queries[a * PaddedColumns(m) + r]) *
              phi_rows[j * PaddedColumns(m) + r]);
    }
    return sum;
  }
  Sum Grad(int64_t a, int64_t j) const {
    Sum sum;
    for (int64_t x = 0; x <= d; ++x) {
      sum.Add(static_cast<double>(row_grads[a * PaddedColumns(d + 1) + x]) *
              values[(j / kKeyGroup * (d + 1) + x) * kKeyGroup + j % kKeyGroup]);
    }
    return sum;
  }
  void Define();
};

// Magnitudes are of products of magnitudes, since a score that cancels carries its terms' errors.
void TileCase::Define() {
  by_query.resize(rows * m);
  by_key.resize(keys * m);
  by_value.resize(keys * d);
  by_bias.resize(rows + keys);
  for (int64_t a = 0; a < rows; ++a) {
    for (int64_t j = 0; j < keys; ++j) {
      const Sum score = Score(a, j), grad = Grad(a, j);
      const double c = Weight(a, j);
      const auto add = [](Sum& sum, double value, double magnitude) {
        sum.value += value;
        sum.magnitude += magnitude;
      };
      for (int64_t r = 0; r < m; ++r) {
        const double k = phi_rows[j * PaddedColumns(m) + r], q = queries[a * PaddedColumns(m) + r];
        add(by_query[a * m + r], c * grad.value * k, c * grad.magnitude * std::abs(k));
        add(by_key[j * m + r], c * grad.value * q, c * grad.magnitude * std::abs(q));
      }
      for (int64_t x = 0; x < d; ++x) {
        const double g = out_grads[a * PaddedColumns(d) + x];
        add(by_value[j * d + x], c * score.value * g, c * score.magnitude * std::abs(g));
      }
      add(by_bias[rows - 1 + j - a], c * score.value * grad.value,
          c * score.magnitude * grad.magnitude);
    }
  }
}

// Columns beyond m of phi hold numbers that must not matter; g beyond d is zero.
TileCase MakeCase(int64_t rows, int64_t keys, int64_t m, int64_t d) {
  const int64_t padded = RoundUp(keys, kKeyGroup);
  TileCase tile = {.rows = rows,
                   .keys = keys,
                   .m = m,
                   .d = d,
                   .queries = Random(rows * PaddedColumns(m), 1, 0.01f, 2),
                   .row_grads = Random(rows * PaddedColumns(d + 1), 2, -1, 1),
                   .out_grads = Floats(rows * PaddedColumns(d)),
                   .phi = Floats(padded * m),
                   .phi_rows = Random(padded * PaddedColumns(m), 3, 0.01f, 2),
                   .values = Random(padded * (d + 1), 4, -1, 1),
                   .weights = Random(rows + padded, 5, 0, 1)};
  for (int64_t a = 0; a < rows; ++a) {
    for (int64_t x = 0; x < d; ++x) {
      tile.out_grads[a * PaddedColumns(d) + x] = tile.row_grads[a * PaddedColumns(d + 1) + x];
    }
  }
  for (int64_t j = 0; j < padded; ++j) {
    const int64_t group = j / kKeyGroup, lane = j % kKeyGroup;
    for (int64_t r = 0; r < m; ++r) {
      float& value = tile.phi_rows[j * PaddedColumns(m) + r];
      if (j >= keys) value = 0;
      tile.phi[(group * m + r) * kKeyGroup + lane] = value;
    }
    for (int64_t x = 0; x <= d && j >= keys; ++x) {
      tile.values[(group * (d + 1) + x) * kKeyGroup + lane] = 0;
    }
  }
  tile.Define();
  return tile;
}

void ExpectSums(const Floats& actual, int64_t stride, int64_t columns, float start,
                const std::vector<Sum>& expected, int64_t terms, const char* name) {
  for (size_t i = 0; i < expected.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i) / columns;
    const int64_t column = static_cast<int64_t>(i) % columns;
    // As CpuKernelsTest::Tolerance.
    const double tolerance =
        kEpsilon * static_cast<double>(terms + 8) * (expected[i].magnitude + start);
    ASSERT_NEAR(actual[row * stride + column], start + expected[i].value, tolerance)
        << name << ", row " << row << ", column " << column;
  }
}

TEST_P(GradientKernelsTest, TileAddsTheDerivativesOfItsSums) {
  const float start = 0.5f;
  for (const int64_t rows : {int64_t{1}, int64_t{7}, int64_t{47}, kRowBlock}) {
    for (const int64_t keys : {1, 16, 33, 48, 80}) {
      SCOPED_TRACE(testing::Message() << rows << " rows, " << keys << " keys");
      TileCase tile = MakeCase(rows, keys, m(), d());
      const int64_t padded = RoundUp(keys, kKeyGroup);
      Floats by_query(rows * PaddedColumns(m()), start), by_key(padded * PaddedColumns(m()), start);
      Floats by_value(padded * PaddedColumns(d()), start), by_bias(rows + padded, start);
      kernels().accumulate_gradients(shape(), {.rows = rows,
                                               .groups = KeyGroups(keys),
                                               .queries = tile.queries.data(),
                                               .row_grads = tile.row_grads.data(),
                                               .out_grads = tile.out_grads.data(),
                                               .keys = tile.phi.data(),
                                               .key_rows = tile.phi_rows.data(),
                                               .values = tile.values.data(),
                                               .weights = tile.weights.data() + rows - 1,
                                               .query_sums = by_query.data(),
                                               .key_sums = by_key.data(),
                                               .value_sums = by_value.data(),
                                               .diagonals = by_bias.data() + rows - 1});
      const int64_t terms = m() + d() + rows + keys;
      ExpectSums(by_query, PaddedColumns(m()), m(), start, tile.by_query, terms, "phi(q)");
      ExpectSums(by_key, PaddedColumns(m()), m(), start, tile.by_key, terms, "phi(k)");
      ExpectSums(by_value, PaddedColumns(d()), d(), start, tile.by_value, terms, "v");
      ExpectSums(by_bias, 1, 1, start, tile.by_bias, terms, "b");
      // Padding keys have no share of b.
      for (int64_t o = keys; o < padded; ++o) ASSERT_EQ(by_bias[rows - 1 + o], start);
    }
  }
}

TEST_P(GradientKernelsTest, PackedColumnsLieAsKeysDo) {
  const int64_t stride = PaddedColumns(m()) + kColumnPad;
  for (const int64_t count : {1, 16, 21, 48}) {
    Floats rows = Random(count * stride, 1, 1, 2);
    Floats packed(KeyGroups(count) * m() * kKeyGroup, 7);
    kernels().pack_columns(rows.data(), stride, count, m(), packed.data());
    for (int64_t j = 0; j < RoundUp(count, kKeyGroup); ++j) {
      for (int64_t r = 0; r < m(); ++r) {
        ASSERT_EQ(packed[KeyIndex(j, r)], j < count ? rows[j * stride + r] : 0) << j << " " << r;
      }
    }
  }
}

// dx_c = (s / |x|) (G - x^ (G . x^) / s^2)_c with G = sum_r g_r phi_r w_r.
std::vector<Sum> FeatureDerivative(const float* x, const float* w, const float* phi,
                                   const float* grads, int64_t m, int64_t d, double scale) {
  double norm = 0;
  for (int64_t c = 0; c < d; ++c) norm += static_cast<double>(x[c]) * x[c];
  norm = std::sqrt(norm);
  std::vector<Sum> result(d);
  if (norm == 0) return result;
  std::vector<Sum> by_unit(d);
  for (int64_t c = 0; c < d; ++c) {
    for (int64_t r = 0; r < m; ++r) {
      const double product = static_cast<double>(grads[r]) * phi[r];
      by_unit[c].Add(w == nullptr ? 0 : product * w[r * d + c]);
    }
    if (w == nullptr) by_unit[c].Add(static_cast<double>(grads[c]) * std::min(phi[c], 1.0f));
  }
  Sum along;
  for (int64_t c = 0; c < d; ++c) {
    along.value += by_unit[c].value * x[c] / norm;
    along.magnitude += by_unit[c].magnitude * std::abs(x[c]) / norm;
  }
  for (int64_t c = 0; c < d; ++c) {
    result[c].value = scale / norm * (by_unit[c].value - along.value * x[c] / norm);
    result[c].magnitude =
        scale / norm * (by_unit[c].magnitude + along.magnitude * std::abs(x[c]) / norm);
  }
  return result;
}

TEST_P(GradientKernelsTest, FeatureGradientsAreTheChainRule) {
  const float scale = 1.5f;
  const int64_t stride = d() + 3, count = 31;
  for (const bool elu : {false, true}) {
    const int64_t features = elu ? d() : m();
    const int64_t phi_columns = PaddedColumns(features);
    Floats rows = Random(count * stride, 1, -2, 2), w = Random(m() * d(), 2, -1, 1);
    for (int64_t c = 0; c < d(); ++c) {
      rows[c] = 0;                // no norm
      rows[stride + c] *= 1e25f;  // squares overflow
    }
    Floats padded(m() * columns()), transposed(d() * PaddedColumns(m()));
    for (int64_t r = 0; r < m(); ++r) {
      for (int64_t c = 0; c < d(); ++c) padded[r * columns() + c] = w[r * d() + c];
    }
    const HeadFeatures map = {
        .kind = elu ? HeadFeatures::Kind::kElu : HeadFeatures::Kind::kExponential,
        .head_dim = d(),
        .features = features,
        .scale = scale,
        .projection = w.data(),
        .transposed = transposed.data(),
        .padded = elu ? nullptr : padded.data()};
    for (const bool add : {false, true}) {
      Floats phi = Random(count * phi_columns, 3, 0.01f, 2);
      Floats grads = Random(count * phi_columns, 4, -1, 1);
      const std::vector<float> given = grads.Copy();
      Floats scratch(FeatureScratchFloats(d())), out(count * stride, 0.25f);
      kernels().feature_gradients(map, {rows.data(), stride}, count, phi.data(), grads.data(),
                                  scratch.data(), out.data(), stride, add);
      for (int64_t j = 0; j < count; ++j) {
        const std::vector<Sum> expected = FeatureDerivative(
            rows.data() + j * stride, elu ? nullptr : w.data(), phi.data() + j * phi_columns,
            given.data() + j * phi_columns, features, d(), scale);
        for (int64_t c = 0; c < d(); ++c) {
          const double start = add ? 0.25 : 0;
          ASSERT_NEAR(out[j * stride + c], start + expected[c].value,
                      Tolerance(expected[c].magnitude + start, features + d()))
              << j << " " << c;
        }
        ASSERT_EQ(out[j * stride + d()], 0.25f) << "beyond the row";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllTargets, GradientKernelsTest, AllTargetsAndShapes(), NameOf);

}  // namespace
}  // namespace longwave::cpu
