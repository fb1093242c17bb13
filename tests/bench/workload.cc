#include "tests/bench/workload.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/reference/attention.h"
#include "model/reference/bias.h"
#include "tests/bench/random_model.h"

namespace longwave {
namespace {

constexpr int64_t kDenseReferenceTokens = 4096;
constexpr int kSampledRows = 64;

std::vector<int64_t> ComparedRows(int64_t n, uint64_t seed) {
  if (n > kDenseReferenceTokens) return SampledRows(n, seed);
  std::vector<int64_t> rows(n);
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

std::vector<double> HeadValues(const at::Tensor& x, int64_t head) {
  const at::Tensor values = x.select(1, head).to(at::kDouble).contiguous();
  return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
}

std::vector<double> BiasOfHead(const BenchOptions& options, const ModelFolder& model,
                               int64_t head) {
  const int64_t n = options.tokens;
  std::vector<double> row(2 * n - 1);
  for (int64_t o = -(n - 1); o <= n - 1; ++o) {
    row[o + n - 1] = options.causal && o > 0
                         ? -std::numeric_limits<double>::infinity()
                         : ReferenceBias(model.config, model.weights, 0, head, o);
  }
  return row;
}

}  // namespace

std::vector<int64_t> SampledRows(int64_t n, uint64_t seed) {
  const int64_t edge = n / 2 / 128 * 128;
  std::set<int64_t> rows;
  for (const int64_t row : {int64_t{0}, int64_t{1}, int64_t{127}, int64_t{128}, edge - 1, edge,
                            edge + 127, n - 2, n - 1}) {
    if (row >= 0 && row < n) rows.insert(row);
  }
  std::mt19937_64 generator(seed);
  const size_t wanted = static_cast<size_t>(std::min<int64_t>(kSampledRows, n));
  while (rows.size() < wanted) rows.insert(static_cast<int64_t>(generator() % n));
  return {rows.begin(), rows.end()};
}

std::string Workload::ReferenceText() const {
  if (static_cast<int64_t>(rows.size()) == options.tokens) return "dense double";
  return absl::StrCat(rows.size(), " rows in double");
}

PeerInput Workload::Peers() const {
  return {
      q, k, v, model.weights.at("layers.0.attention.projection").values, bias, options.features};
}

Workload PartOf(const Workload& whole, int64_t first, int64_t n) {
  Workload part;
  part.options = whole.options;
  part.options.tokens = n;
  part.model = whole.model;
  part.attention = whole.attention;
  part.q = whole.q.narrow(0, first, n);
  part.k = whole.k.narrow(0, first, n);
  part.v = whole.v.narrow(0, first, n);
  part.out = whole.out.narrow(0, first, n);
  const int64_t centre = whole.options.tokens - 1;
  for (const std::vector<double>& row : whole.bias) {
    part.bias.emplace_back(row.begin() + centre - (n - 1), row.begin() + centre + n);
  }
  part.rows = ComparedRows(n, whole.options.seed);
  return part;
}

at::Tensor RandomRows(const BenchOptions& options, uint64_t seed) {
  at::Tensor rows = at::empty({options.tokens, options.heads, options.head_dim}, at::kFloat);
  rows.normal_(0, 1, at::detail::createCPUGenerator(seed));
  return rows;
}

absl::StatusOr<Workload> MakeWorkload(const BenchOptions& options) {
  Workload load;
  load.options = options;
  load.model = RandomModel(options, FeatureKind::kPrf);
  auto attention = CreateAttention(load.model.config, load.model.weights, 0, "cpu");
  if (!attention.ok()) return attention.status();
  load.attention = *std::move(attention);
  load.q = RandomRows(options, options.seed + 1001);
  load.k = RandomRows(options, options.seed + 1002);
  load.v = RandomRows(options, options.seed + 1003);
  load.out = at::zeros_like(load.q);
  for (int64_t h = 0; h < options.heads; ++h) {
    load.bias.push_back(BiasOfHead(options, load.model, h));
  }
  load.rows = ComparedRows(options.tokens, options.seed);
  return load;
}

ExpectedRows Expected(const Workload& load, FeatureKind features, bool with_bias,
                      ComputePool* pool) {
  const BenchOptions& options = load.options;
  AttentionConfig config = load.model.config.attention;
  config.features = features;
  const int64_t rows = static_cast<int64_t>(load.rows.size());
  const int64_t d = options.head_dim;
  const std::vector<float>& stored = load.model.weights.at("layers.0.attention.projection").values;
  ExpectedRows expected(options.heads);
  for (int64_t h = 0; h < options.heads; ++h) {
    const std::vector<double> q = HeadValues(load.q, h), k = HeadValues(load.k, h),
                              v = HeadValues(load.v, h);
    const int64_t size = options.features * d;
    const std::vector<double> projection(stored.begin() + h * size,
                                         stored.begin() + (h + 1) * size);
    const bool softmax = features == FeatureKind::kSoftmax;
    const ReferenceHead head{
        options.tokens, d, q, k, v, softmax ? absl::Span<const double>() : projection};
    const auto bias = [&](int64_t offset) {
      return with_bias ? load.bias[h][offset + options.tokens - 1] : 0.0;
    };
    expected[h].resize(rows * d);
    // One piece a thread, since every call forms the features of all keys.
    const int64_t height = (rows + pool->threads() - 1) / pool->threads();
    pool->ParallelFor((rows + height - 1) / height, [&](int64_t piece, int) {
      const int64_t begin = piece * height;
      const absl::Span<const int64_t> part_rows =
          absl::MakeConstSpan(load.rows).subspan(begin, std::min(height, rows - begin));
      const ReferenceRows part = ReferenceAttention(head, config, bias, part_rows);
      std::copy(part.values.begin(), part.values.end(), expected[h].begin() + begin * d);
    });
  }
  return expected;
}

double WorstError(const at::Tensor& output, const Workload& load, const ExpectedRows& expected) {
  const at::Tensor index = at::tensor(at::ArrayRef<int64_t>(load.rows), at::kLong);
  const at::Tensor compared = at::index_select(output, 0, index);
  double worst = 0;
  for (size_t h = 0; h < expected.size(); ++h) {
    const std::vector<double> actual = HeadValues(compared, static_cast<int64_t>(h));
    for (size_t i = 0; i < actual.size(); ++i) {
      const double difference = std::abs(actual[i] - expected[h][i]);
      if (std::isnan(difference)) return difference;  // a maximum would lose it
      worst = std::max(worst, difference);
    }
  }
  return worst / load.v.abs().max().item<double>();
}

double WorstOverBound(const at::Tensor& output, const Workload& load, const ExpectedRows& expected,
                      double bound) {
  const BenchOptions& options = load.options;
  const int64_t n = options.tokens, d = options.head_dim, m = options.features;
  const std::vector<float>& stored = load.model.weights.at("layers.0.attention.projection").values;
  const at::Tensor projection = at::tensor(at::ArrayRef<float>(stored), at::kFloat)
                                    .reshape({options.heads, m, d})
                                    .to(at::kDouble);
  const auto features = [&](const at::Tensor& x, int64_t head) {
    const at::Tensor unit = x / x.norm(2, -1, true);
    return at::exp(at::matmul(unit, projection[head].t()));  // constant factors cancel
  };
  double worst = 0;
  for (int64_t h = 0; h < options.heads; ++h) {
    const at::Tensor phi_k = features(load.k.select(1, h).to(at::kDouble), h);
    const at::Tensor v = load.v.select(1, h).to(at::kDouble);
    const at::Tensor c = at::exp(at::tensor(at::ArrayRef<double>(load.bias[h]), at::kDouble));
    for (size_t r = 0; r < load.rows.size(); ++r) {
      const int64_t row = load.rows[r];
      const at::Tensor phi_q = features(load.q.select(1, h)[row].to(at::kDouble).unsqueeze(0), h);
      const at::Tensor weights =
          at::matmul(phi_k, phi_q.squeeze(0)) * c.slice(0, n - 1 - row, 2 * n - 1 - row);
      const at::Tensor z = at::tensor(
          at::ArrayRef<double>(expected[h].data() + r * d, static_cast<size_t>(d)), at::kDouble);
      const at::Tensor spread = at::matmul(weights / weights.sum(), (v - z).abs_());
      const at::Tensor actual = output.select(1, h)[row].to(at::kDouble);
      worst = std::max(worst, ((actual - z).abs() / (bound * spread)).max().item<double>());
    }
  }
  return worst;
}

void RunPass(const Workload& load, Route route, ComputePool* pool) {
  std::vector<std::unique_ptr<AttentionPass>> passes;
  passes.push_back(load.attention->Begin(route, load.q, load.k, load.v, load.out));
  RunPasses(passes, pool);
}

void RunPasses(absl::Span<const std::unique_ptr<AttentionPass>> passes, ComputePool* pool) {
  int phases = 0;
  for (const auto& pass : passes) phases = std::max(phases, pass->phases());
  for (int phase = 0; phase < phases; ++phase) {
    std::vector<std::pair<AttentionPass*, int64_t>> pieces;
    for (const auto& pass : passes) {
      if (phase >= pass->phases()) continue;
      for (int64_t piece = 0; piece < pass->Pieces(phase); ++piece) {
        pieces.emplace_back(pass.get(), piece);
      }
    }
    pool->ParallelFor(static_cast<int64_t>(pieces.size()),
                      [&](int64_t i, int) { pieces[i].first->Run(phase, pieces[i].second); });
  }
}

}  // namespace longwave
