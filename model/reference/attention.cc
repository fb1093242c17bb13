#include "model/reference/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace longwave {
namespace {

constexpr double kLowest = -std::numeric_limits<double>::infinity();

bool IsPositiveRandom(FeatureKind kind) {
  return kind == FeatureKind::kPrf || kind == FeatureKind::kSphere;
}

double SquaredNorm(absl::Span<const double> x) {
  double sum = 0;
  for (const double value : x) sum += value * value;
  return sum;
}

// x^ of every row.
std::vector<double> Scaled(absl::Span<const double> rows, int64_t d,
                           const AttentionConfig& config) {
  std::vector<double> scaled(rows.begin(), rows.end());
  for (size_t begin = 0; begin < scaled.size(); begin += d) {
    double factor = std::pow(static_cast<double>(d), -0.25);
    if (config.qk_norm) {
      const double norm = std::sqrt(SquaredNorm(rows.subspan(begin, d)));
      factor = norm == 0 ? 0 : config.scale / norm;
    }
    for (int64_t c = 0; c < d; ++c) scaled[begin + c] *= factor;
  }
  return scaled;
}

// A row's features as phi = value * exp(exponent), so that a common factor can be taken out before
// anything overflows.
struct Features {
  std::vector<double> values;
  std::vector<double> exponents;
};

Features RowFeatures(absl::Span<const double> x, absl::Span<const double> projection,
                     FeatureKind kind) {
  Features features;
  const auto add = [&](double value, double exponent) {
    features.values.push_back(value);
    features.exponents.push_back(exponent);
  };
  const int64_t d = x.size();
  if (kind == FeatureKind::kElu) {
    for (const double value : x) add(value > 0 ? value + 1 : std::exp(value), 0);
    return features;
  }
  const int64_t m = projection.size() / d;
  const double norm = 1 / std::sqrt(static_cast<double>(m));
  const double half_square = SquaredNorm(x) / 2;
  std::vector<double> angles(m, 0);
  for (int64_t r = 0; r < m; ++r) {
    for (int64_t c = 0; c < d; ++c) angles[r] += projection[r * d + c] * x[c];
  }
  if (IsPositiveRandom(kind)) {
    for (const double angle : angles) add(norm, angle - half_square);
  } else {
    for (const double angle : angles) add(norm * std::sin(angle), half_square);
    for (const double angle : angles) add(norm * std::cos(angle), half_square);
  }
  return features;
}

double MaxExponent(const Features& features) {
  return *std::max_element(features.exponents.begin(), features.exponents.end());
}

// The features with exp(-shift) taken out.
std::vector<double> Shifted(const Features& features, double shift) {
  std::vector<double> values = features.values;
  for (size_t r = 0; r < values.size(); ++r) values[r] *= std::exp(features.exponents[r] - shift);
  return values;
}

// b(o) at index o + n - 1, for o in (-n, n); -infinity where a causal head looks ahead.
std::vector<double> Biases(int64_t n, bool causal, absl::FunctionRef<double(int64_t)> bias) {
  std::vector<double> biases(2 * n - 1);
  for (int64_t o = 1 - n; o < n; ++o) {
    biases[o + n - 1] = causal && o > 0 ? kLowest : bias(o);
  }
  return biases;
}

// c(j - i) for one i and all j. The maximum is the row's own: a factor common to a row changes
// nothing, and so no row can lose all its weights to underflow.
void RowWeights(absl::Span<const double> biases, int64_t i, std::vector<double>& weights) {
  const int64_t n = weights.size();
  const absl::Span<const double> row = biases.subspan(n - 1 - i, n);
  const double highest = *std::max_element(row.begin(), row.end());
  for (int64_t j = 0; j < n; ++j) weights[j] = std::exp(row[j] - highest);
}

// phi(k_j) . phi(q_i) for one i and all j, as terms summed in the order of the features.
class Scores {
 public:
  Scores(const ReferenceHead& head, const AttentionConfig& config)
      : head_(head),
        config_(config),
        q_(Scaled(head.q, head.head_dim, config)),
        k_(Scaled(head.k, head.head_dim, config)) {
    if (config.features != FeatureKind::kSoftmax) FillKeyFeatures();
  }

  // Both [n].
  void Row(int64_t i, std::vector<double>& scores, std::vector<double>& magnitudes) const {
    if (config_.features == FeatureKind::kSoftmax) {
      SoftmaxRow(i, scores);
      magnitudes = scores;
      return;
    }
    const Features row = RowFeatures(Vector(q_, i), head_.projection, config_.features);
    const std::vector<double> phi = Shifted(row, config_.qk_norm ? 0 : MaxExponent(row));
    std::fill(scores.begin(), scores.end(), 0);
    std::fill(magnitudes.begin(), magnitudes.end(), 0);
    for (size_t r = 0; r < phi.size(); ++r) {
      const double* keys = &key_features_[r * head_.tokens];
      for (int64_t j = 0; j < head_.tokens; ++j) scores[j] += phi[r] * keys[j];
      if (config_.features != FeatureKind::kTrf) continue;
      for (int64_t j = 0; j < head_.tokens; ++j) magnitudes[j] += std::abs(phi[r] * keys[j]);
    }
    if (config_.features != FeatureKind::kTrf) magnitudes = scores;  // all terms are positive
  }

 private:
  absl::Span<const double> Vector(const std::vector<double>& rows, int64_t row) const {
    return absl::MakeConstSpan(rows).subspan(row * head_.head_dim, head_.head_dim);
  }

  // Feature by feature: [features, n], so that Row() runs along the keys.
  void FillKeyFeatures() {
    double highest = kLowest;
    std::vector<Features> rows(head_.tokens);
    for (int64_t j = 0; j < head_.tokens; ++j) {
      rows[j] = RowFeatures(Vector(k_, j), head_.projection, config_.features);
      highest = std::max(highest, MaxExponent(rows[j]));
    }
    key_features_.resize(rows.front().values.size() * rows.size());
    for (int64_t j = 0; j < head_.tokens; ++j) {
      const std::vector<double> phi = Shifted(rows[j], config_.qk_norm ? 0 : highest);
      for (size_t r = 0; r < phi.size(); ++r) key_features_[r * head_.tokens + j] = phi[r];
    }
  }

  void SoftmaxRow(int64_t i, std::vector<double>& scores) const {
    const absl::Span<const double> query = Vector(q_, i);
    for (int64_t j = 0; j < head_.tokens; ++j) {
      const absl::Span<const double> key = Vector(k_, j);
      scores[j] = 0;
      for (int64_t c = 0; c < head_.head_dim; ++c) scores[j] += query[c] * key[c];
    }
    const int64_t visible = config_.causal ? i + 1 : head_.tokens;
    const double highest = *std::max_element(scores.begin(), scores.begin() + visible);
    for (int64_t j = 0; j < head_.tokens; ++j) {
      scores[j] = j < visible ? std::exp(scores[j] - highest) : 0;
    }
  }

  const ReferenceHead& head_;
  const AttentionConfig& config_;
  const std::vector<double> q_;
  const std::vector<double> k_;
  std::vector<double> key_features_;
};

}  // namespace

ReferenceRows ReferenceAttention(const ReferenceHead& head, const AttentionConfig& config,
                                 absl::FunctionRef<double(int64_t offset)> bias, int64_t first_row,
                                 int64_t end_row) {
  std::vector<int64_t> rows(end_row - first_row);
  std::iota(rows.begin(), rows.end(), first_row);
  return ReferenceAttention(head, config, bias, rows);
}

ReferenceRows ReferenceAttention(const ReferenceHead& head, const AttentionConfig& config,
                                 absl::FunctionRef<double(int64_t offset)> bias,
                                 absl::Span<const int64_t> rows) {
  const int64_t n = head.tokens;
  const int64_t d = head.head_dim;
  ReferenceRows result;
  result.values.assign(rows.size() * d, 0);
  result.denominators.assign(rows.size(), 0);
  result.magnitudes.assign(rows.size(), 0);
  if (rows.empty()) return result;

  const std::vector<double> biases = Biases(n, config.causal, bias);
  const Scores scores(head, config);
  std::vector<double> c(n);
  std::vector<double> score(n);
  std::vector<double> magnitude(n);
  for (size_t r = 0; r < rows.size(); ++r) {
    RowWeights(biases, rows[r], c);
    scores.Row(rows[r], score, magnitude);
    double* out = &result.values[r * d];
    double& denominator = result.denominators[r];
    for (int64_t j = 0; j < n; ++j) {
      denominator += c[j] * score[j];
      result.magnitudes[r] += c[j] * magnitude[j];
      for (int64_t e = 0; e < d; ++e) out[e] += c[j] * score[j] * head.v[j * d + e];
    }
    for (int64_t e = 0; e < d; ++e) out[e] /= denominator;
  }
  return result;
}

}  // namespace longwave
