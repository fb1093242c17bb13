#include "model/attention/toeplitz_weights.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace longwave {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// How far b may lie off the line that stands for it. exp() turns it into a relative error of c,
// four times that of rounding c to a float. Floats of a stored line are within it of the line as
// long as |b| < 16.
constexpr double kTailTolerance = 0x1p-21;

// Lengths whose ratios are remembered. A service sees few distinct lengths at which the FFT is an
// option; dropping all of them when full only costs their computation again.
constexpr size_t kMaxCachedLengths = 4096;

}  // namespace

ToeplitzWeights::ToeplitzWeights(RelativeBias bias, bool causal, int64_t max_tokens)
    : bias_(std::move(bias)),
      causal_(causal),
      last_offset_(std::min(max_tokens, bias_.max_tokens()) - 1) {
  // Beyond the explicit distance b is a line, so its maximum lies at one of the two ends.
  const int64_t explicit_last = std::min(bias_.explicit_distance(), last_offset_);
  for (int h = 0; h < heads(); ++h) {
    double highest = std::max(bias_.At(h, 0), bias_.At(h, -last_offset_));
    if (!causal_) highest = std::max(highest, bias_.At(h, last_offset_));
    for (int64_t distance = 1; distance <= explicit_last; ++distance) {
      highest = std::max(highest, bias_.At(h, -distance));
      if (!causal_) highest = std::max(highest, bias_.At(h, distance));
    }
    max_bias_.push_back(highest);
    spread_ = std::max(spread_, highest - bias_.At(h, 0));
  }
  for (int h = 0; h < heads(); ++h) {
    HeadStructure head;
    head.before = FindTail(h, -1);
    FindRuns(h, -1, head.before);
    head.after = {.has_tail = true, .band = 1, .mostly_runs = true};
    if (!causal_) {
      head.after = FindTail(h, 1);
      FindRuns(h, 1, head.after);
    }
    structured_ = structured_ && head.tailed();
    band_ = std::max(band_, head.band());
    structures_.push_back(std::move(head));
  }
}

double ToeplitzWeights::Log(int head, int64_t offset) const {
  if (causal_ && offset > 0) return kMinusInfinity;
  return bias_.At(head, std::clamp(offset, -last_offset_, last_offset_)) - max_bias_[head];
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

// Beyond the explicit distance b goes on as a straight line from its last value, and that line is
// the tail. Where the table ends with the longest sequence nothing lies beyond, and the tail is a
// constant or the line that fits the outer half best; if it holds for less than that half it is
// taken for chance.
ToeplitzSide ToeplitzWeights::FindTail(int head, int sign) const {
  const int64_t end = std::min(bias_.explicit_distance(), last_offset_);
  const double last_value = bias_.At(head, sign * end) - max_bias_[head];
  if (end < last_offset_ || end == 0) {
    const double slope = bias_.slope(head);
    ToeplitzSide side = FollowTail(head, sign, end, {false, last_value - slope * end, slope});
    side.has_tail = slope <= 0;
    return side;
  }
  ToeplitzSide side = FollowTail(head, sign, end, {false, last_value, 0});
  if (side.band > end / 2) side = FollowTail(head, sign, end, FitOuterHalf(head, sign, end));
  side.has_tail = side.band <= end / 2 && side.tail.log_ratio <= 0;
  return side;
}

// How far inwards from `end` the tail holds.
ToeplitzSide ToeplitzWeights::FollowTail(int head, int sign, int64_t end,
                                         const ToeplitzTail& tail) const {
  ToeplitzSide side = {.tail = tail, .band = end + 1};
  for (int64_t distance = end; distance >= 0; --distance) {
    const double line = tail.log_scale + tail.log_ratio * distance;
    if (std::abs(bias_.At(head, sign * distance) - max_bias_[head] - line) > kTailTolerance) break;
    side.band = distance;
  }
  return side;
}

// From the query outwards, each run as long as its first value lasts. The last one goes on for ever
// if nothing follows it but more of the same.
void ToeplitzWeights::FindRuns(int head, int sign, ToeplitzSide& side) const {
  const int64_t end = std::min(bias_.explicit_distance(), last_offset_);
  const bool goes_on = end == last_offset_ || bias_.slope(head) == 0;
  const auto log = [&](int64_t distance) {
    return bias_.At(head, sign * distance) - max_bias_[head];
  };
  int64_t covered = 0;
  for (int64_t first = 1; first <= end;) {
    ConstantRun run = {.first = first, .end = first + 1, .log_value = log(first)};
    while (run.end <= end && std::abs(log(run.end) - run.log_value) <= kTailTolerance) ++run.end;
    first = run.end;
    if (run.end > end && goes_on) run.end = ConstantRun::kForever;
    const int64_t length = std::min(run.end, last_offset_ + 1) - run.first;
    if (length < ToeplitzSide::kMinRunTokens) continue;
    side.runs.push_back(run);
    covered += length;
  }
  if (end == 0 && goes_on) {
    side.runs.push_back({1, ConstantRun::kForever, log(1)});
    covered = last_offset_;
  }
  side.mostly_runs = 2 * covered >= last_offset_ && !side.runs.empty();
}

// Least squares, so that the roundings of single values hardly move the line.
ToeplitzTail ToeplitzWeights::FitOuterHalf(int head, int sign, int64_t end) const {
  const int64_t first = end / 2;
  const double count = static_cast<double>(end - first + 1);
  const double center = 0.5 * static_cast<double>(first + end);
  double mean = 0;
  double covariance = 0;
  double variance = 0;
  for (int64_t distance = first; distance <= end; ++distance) {
    const double x = static_cast<double>(distance) - center;
    const double value = bias_.At(head, sign * distance) - max_bias_[head];
    mean += value / count;
    covariance += x * value;
    variance += x * x;
  }
  const double slope = covariance / variance;
  return {.absent = false, .log_scale = mean - slope * center, .log_ratio = slope};
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
