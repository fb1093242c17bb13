#include "model/attention/toeplitz_weights.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace longwave {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// How far b may lie off the line that stands for it. exp() turns it into a relative error of c of
// two units in the last place of the floats that c is rounded to anyway. A stored line has rounding
// of its own below this as long as |b| < 8.
constexpr double kTailTolerance = 0x1p-22;

// Lengths whose ratios are remembered. A service sees few distinct lengths at which the FFT is an
// option; dropping all of them when full only costs their computation again.
constexpr size_t kMaxCachedLengths = 4096;

}  // namespace

ToeplitzWeights::ToeplitzWeights(RelativeBias bias, bool causal, int64_t max_tokens)
    : bias_(std::move(bias)), causal_(causal) {
  const int64_t last_offset = std::min(max_tokens, bias_.max_tokens()) - 1;
  // Beyond the explicit distance b is a line, so its maximum lies at one of the two ends.
  const int64_t explicit_last = std::min(bias_.explicit_distance(), last_offset);
  for (int h = 0; h < heads(); ++h) {
    double highest = std::max(bias_.At(h, 0), bias_.At(h, -last_offset));
    if (!causal_) highest = std::max(highest, bias_.At(h, last_offset));
    for (int64_t distance = 1; distance <= explicit_last; ++distance) {
      highest = std::max(highest, bias_.At(h, -distance));
      if (!causal_) highest = std::max(highest, bias_.At(h, distance));
    }
    max_bias_.push_back(highest);
    spread_ = std::max(spread_, highest - bias_.At(h, 0));
  }
  for (int h = 0; h < heads(); ++h) {
    const Side before = FindTail(h, -1, last_offset);
    const Side after = causal_ ? Side{.band = 1, .found = true} : FindTail(h, 1, last_offset);
    structured_ = structured_ && before.found && after.found;
    band_ = std::max({band_, before.band, after.band});
    before_.push_back(before.tail);
    after_.push_back(after.tail);
  }
}

double ToeplitzWeights::Log(int head, int64_t offset) const {
  if (causal_ && offset > 0) return kMinusInfinity;
  return bias_.At(head, offset) - max_bias_[head];
}

std::vector<double> ToeplitzWeights::LogRange(int head, int64_t first, int64_t last) const {
  std::vector<double> values;
  values.reserve(last - first + 1);
  for (int64_t o = first; o <= last; ++o) values.push_back(Log(head, o));
  return values;
}

std::vector<double> ToeplitzWeights::Range(int head, int64_t first, int64_t last) const {
  std::vector<double> values = LogRange(head, first, last);
  for (double& value : values) value = std::exp(value);
  return values;
}

// The line through the last point with the slope that b has beyond it. Where the table ends with
// the longest sequence nothing lies beyond, and the slope is read off the outer half; a tail that
// then holds for less than that half is taken for chance.
ToeplitzWeights::Side ToeplitzWeights::FindTail(int head, int sign, int64_t last_offset) const {
  const int64_t end = std::min(bias_.explicit_distance(), last_offset);
  const bool open = end < last_offset || end == 0;
  const double last_value = bias_.At(head, sign * end) - max_bias_[head];
  const auto fit = [&](double slope) {
    Side side;
    side.tail = {.absent = false, .log_scale = last_value - slope * end, .log_ratio = slope};
    int64_t distance = end;
    for (; distance >= 0; --distance) {
      const double line = side.tail.log_scale + slope * distance;
      const double off = bias_.At(head, sign * distance) - max_bias_[head] - line;
      if (std::abs(off) > kTailTolerance) break;
    }
    side.band = distance + 1;
    side.found = slope <= 0 && (open || side.band <= end / 2);
    return side;
  };
  if (open) return fit(bias_.slope(head));
  const Side flat = fit(0);
  if (flat.found) return flat;
  const int64_t middle = end / 2;
  const double rise = bias_.At(head, sign * end) - bias_.At(head, sign * middle);
  return fit(rise / static_cast<double>(end - middle));
}

double ToeplitzWeights::RowSumRatio(int head, int64_t n) const {
  {
    MutexLock lock(&mutex_);
    const auto found = ratios_.find(n);
    if (found != ratios_.end()) return found->second[head];
  }
  std::vector<double> ratios;
  for (int h = 0; h < heads(); ++h) ratios.push_back(ComputeRowSumRatio(h, n));
  const double ratio = ratios[head];
  MutexLock lock(&mutex_);
  if (ratios_.size() >= kMaxCachedLengths) ratios_.clear();
  ratios_.emplace(n, std::move(ratios));
  return ratio;
}

// Row i sums c over the i keys before it, itself, and the n - 1 - i after it. Both parts are
// running sums of positive numbers from offset 0 outwards, so nothing cancels however steep c is.
double ToeplitzWeights::ComputeRowSumRatio(int head, int64_t n) const {
  std::vector<double> after(n, 0);
  for (int64_t o = 1; o < n; ++o) after[o] = after[o - 1] + std::exp(Log(head, o));
  const double self = std::exp(Log(head, 0));
  double before = 0;
  double largest = 0;
  double smallest = std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i < n; ++i) {
    if (i > 0) before += std::exp(Log(head, -i));
    const double sum = before + self + after[n - 1 - i];
    largest = std::max(largest, sum);
    smallest = std::min(smallest, sum);
  }
  return smallest > 0 ? largest / smallest : std::numeric_limits<double>::infinity();
}

}  // namespace longwave
