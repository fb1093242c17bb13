#include "model/attention/interpolation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Blocks so many apart are evaluated outright; beyond, smooth kernels are far below the limit.
constexpr int64_t kOutrightBlocks = 8;
// A span is longer than a block by one part of it in so many.
constexpr int64_t kSpanParts = 8;

int64_t IndexOf(int64_t block) {
  int64_t index = 0;
  while (InterpolationCertificates::kBlocks[index] != block) ++index;
  return index;
}

// The longest sequence that takes blocks of this size.
int64_t LongestOf(int64_t block, int64_t max_tokens) {
  int64_t low = 1;  // takes blocks at most as large
  int64_t high = max_tokens + 1;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (InterpolationBlock(middle) <= block ? low : high) = middle;
  }
  return low;
}

// Lagrange weights of integer nodes at the integers [0, length).
std::vector<double> LagrangeAt(const std::vector<int64_t>& nodes, int64_t length) {
  std::vector<double> weights;
  for (const int64_t node : nodes) {
    for (int64_t x = 0; x < length; ++x) {
      double product = 1;
      for (const int64_t other : nodes) {
        if (other != node) {
          product *= static_cast<double>(x - other) / static_cast<double>(node - other);
        }
      }
      weights.push_back(product);
    }
  }
  return weights;
}

std::vector<int64_t> ChebyshevNodes(int64_t length, int64_t count) {
  std::vector<int64_t> nodes(count);
  for (int64_t a = 0; a < count; ++a) {
    const double angle =
        std::numbers::pi * (static_cast<double>(a) + 0.5) / static_cast<double>(count);
    const double position = 0.5 * static_cast<double>(length - 1) * (1 - std::cos(angle));
    nodes[a] = static_cast<int64_t>(std::floor(position + 0.5));
  }
  for (int64_t a = 0; a < count / 2; ++a) nodes[count - 1 - a] = length - 1 - nodes[a];
  return nodes;
}

// One side of a head's c while its bound is found.
class SideError {
 public:
  // c at distance i is values[i]. `sign`: -1 for the keys before the query.
  SideError(const InterpolationGrid& grid, std::vector<double> values, double limit)
      : grid_(grid),
        values_(std::move(values)),
        limit_(limit),
        span_(grid.block + grid.block / kSpanParts),
        span_nodes_(ChebyshevNodes(span_, static_cast<int64_t>(grid.nodes.size()))),
        span_lagrange_(LagrangeAt(span_nodes_, span_)) {}

  double Bound(int64_t last_distance) const {
    double error = 0;
    const int64_t last_block = last_distance / grid_.block + 1;
    for (int64_t d = 2; d <= last_block && error <= limit_; ++d) {
      error = std::max(error, d <= kOutrightBlocks ? Outright(d) : OfSpans(d));
    }
    return error <= limit_ ? error : kInfinity;
  }

 private:
  double At(int64_t distance) const { return values_[distance]; }

  // max over x and y of |c^ / c - 1| for blocks d apart.
  double Outright(int64_t d) const {
    const int64_t block = grid_.block;
    const int64_t nodes = static_cast<int64_t>(grid_.nodes.size());
    // partial[a][y] = sum over b of c(d B + t_b - t_a) L_b(y)
    std::vector<double> partial(nodes * block, 0.0);
    for (int64_t a = 0; a < nodes; ++a) {
      for (int64_t b = 0; b < nodes; ++b) {
        const double c = At(d * block + grid_.nodes[b] - grid_.nodes[a]);
        for (int64_t y = 0; y < block; ++y) partial[a * block + y] += c * grid_.L(b, y);
      }
    }
    double error = 0;
    std::vector<double> row(block);
    for (int64_t x = 0; x < block; ++x) {
      std::fill(row.begin(), row.end(), 0.0);
      for (int64_t a = 0; a < nodes; ++a) {
        const double weight = grid_.L(a, x);
        for (int64_t y = 0; y < block; ++y) row[y] += weight * partial[a * block + y];
      }
      for (int64_t y = 0; y < block; ++y) {
        error = std::max(error, std::abs(row[y] / At(d * block + y - x) - 1));
      }
      if (error > limit_) return error;
    }
    return error;
  }

  // A bound of the same from the spans that hold every window of blocks d apart.
  double OfSpans(int64_t d) const {
    const int64_t first = (d - 1) * grid_.block + 1;
    const int64_t step = grid_.block / kSpanParts;
    double delta = 0;
    double least = kInfinity;
    for (int64_t part = 0; part < kSpanParts; ++part) {
      delta = std::max(delta, SpanDelta(first + part * step, least));
    }
    return (1 + grid_.lebesgue) * (1 + grid_.lebesgue) * delta / least;
  }

  // How far c is from its polynomial over one span; `least` becomes the least c met so far.
  double SpanDelta(int64_t first, double& least) const {
    std::vector<double> sum(span_, 0.0);
    for (size_t a = 0; a < span_nodes_.size(); ++a) {
      const double c = At(first + span_nodes_[a]);
      for (int64_t x = 0; x < span_; ++x) sum[x] += c * span_lagrange_[a * span_ + x];
    }
    double delta = 0;
    for (int64_t x = 0; x < span_; ++x) {
      delta = std::max(delta, std::abs(sum[x] - At(first + x)));
      least = std::min(least, At(first + x));
    }
    return delta;
  }

  const InterpolationGrid& grid_;
  const std::vector<double> values_;
  const double limit_;
  const int64_t span_;
  const std::vector<int64_t> span_nodes_;
  const std::vector<double> span_lagrange_;
};

}  // namespace

InterpolationGrid MakeInterpolationGrid(int64_t block, int64_t nodes) {
  InterpolationGrid grid = {.block = block, .nodes = ChebyshevNodes(block, nodes)};
  grid.lagrange = LagrangeAt(grid.nodes, block);
  for (int64_t x = 0; x < block; ++x) {
    double magnitudes = 0;
    for (int64_t a = 0; a < nodes; ++a) magnitudes += std::abs(grid.L(a, x));
    grid.lebesgue = std::max(grid.lebesgue, magnitudes);
  }
  return grid;
}

// Operations of a token and head with m = d = 64 and five nodes: 774 B for near blocks,
// 208000 n / B^2 for coupling, whose products run at about half the rate of tiles. So the best B is
// about the cube root of 1000 n.
int64_t InterpolationBlock(int64_t n) {
  const double best = std::cbrt(1000.0 * static_cast<double>(n));
  for (const int64_t block : InterpolationCertificates::kBlocks) {
    if (best < std::numbers::sqrt2 * static_cast<double>(block)) return block;
  }
  return InterpolationCertificates::kBlocks.back();
}

ExtendedWeights::ExtendedWeights(const ToeplitzWeights& weights, int head)
    : weights_(weights), head_(head), last_(weights.last_offset()) {
  // The mean slope of the last block: the roundings of single values hardly move it.
  const int64_t run = std::min<int64_t>(InterpolationCertificates::kBlocks[0], last_);
  if (run == 0) return;
  const auto slope = [&](int64_t sign) {
    return (weights.Log(head, sign * last_) - weights.Log(head, sign * (last_ - run))) /
           static_cast<double>(run);
  };
  slope_before_ = slope(-1);
  if (!weights.causal()) slope_after_ = slope(1);
}

double ExtendedWeights::At(int64_t offset) const {
  const int64_t beyond = std::abs(offset) - last_;
  double log = weights_.Log(head_, offset);
  if (beyond > 0 && !(offset > 0 && weights_.causal())) {
    log += (offset < 0 ? slope_before_ : slope_after_) * static_cast<double>(beyond);
  }
  return std::exp(log);
}

double InterpolationError(const ExtendedWeights& weights, const InterpolationGrid& grid,
                          double limit) {
  const ToeplitzWeights& table = weights.weights();
  const int64_t last = LongestOf(grid.block, table.last_offset() + 1) - 1;
  double error = 0;
  for (const int64_t sign : {-1, 1}) {
    if (sign > 0 && table.causal()) continue;
    std::vector<double> values;
    for (int64_t i = 0; i <= last + 3 * grid.block; ++i) values.push_back(weights.At(sign * i));
    error = std::max(error, SideError(grid, std::move(values), limit).Bound(last));
    if (error > limit) break;
  }
  return error;
}

InterpolationCertificates::InterpolationCertificates(const ToeplitzWeights& weights,
                                                     double max_error)
    : max_error_(max_error), heads_(weights.heads()) {
  const int64_t largest = InterpolationBlock(weights.last_offset() + 1);
  for (int head = 0; head < weights.heads(); ++head) {
    const ExtendedWeights extended(weights, head);
    for (const int64_t block : kBlocks) {
      if (block > largest) break;
      HeadCertificate& certificate = heads_[head][IndexOf(block)];
      for (int64_t nodes = kMinNodes; nodes <= kMaxNodes; ++nodes) {
        certificate.error =
            InterpolationError(extended, MakeInterpolationGrid(block, nodes), max_error);
        if (certificate.error > max_error) continue;
        certificate.nodes = nodes;
        break;
      }
    }
  }
}

const HeadCertificate& InterpolationCertificates::at(int head, int64_t n) const {
  return heads_[head][IndexOf(InterpolationBlock(n))];
}

std::string InterpolationCertificates::Refusal(int64_t n) const {
  if (!asked()) return "the model does not ask for it (attention.interpolation)";
  for (int head = 0; head < static_cast<int>(heads_.size()); ++head) {
    if (Covers(head, n)) continue;
    return absl::StrCat("the weights of head ", head, " are not within ", max_error_,
                        " of their interpolation by ", kMaxNodes, " nodes in blocks of ",
                        InterpolationBlock(n));
  }
  return "";
}

}  // namespace longwave
