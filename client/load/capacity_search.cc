#include "client/load/capacity_search.h"

#include <algorithm>
#include <cmath>

namespace longwave::load {
namespace {

// Below this nothing can be told in a step of seconds.
constexpr double kLowestRate = 0.01;

std::vector<double> Sorted(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values;
}

}  // namespace

std::optional<double> CapacitySearch::NextRate() const {
  if (repeats_.size() >= kRepeats || next_ < kLowestRate) return std::nullopt;
  return next_;
}

void CapacitySearch::Add(double offered_per_second, double good_per_second) {
  if (repeating_) {
    repeats_.push_back(good_per_second);
    return;
  }
  const bool kept = good_per_second >= kKept * offered_per_second;
  // A rate that was too low for a rate already known is noise; the newer measurement decides.
  if (kept) {
    low_ = next_;
  } else {
    high_ = next_;
  }
  if (kept && next_ >= highest_rate_) {
    repeating_ = true;
  } else if (high_ == 0) {
    next_ = std::min(2 * next_, highest_rate_);
  } else if (low_ == 0) {
    next_ = next_ / 2;
  } else if (Narrow()) {
    // A little above what was kept: goodput there is what the server can do, not what was asked.
    next_ = high_;
    repeating_ = true;
  } else {
    next_ = std::sqrt(low_ * high_);
  }
}

double CapacitySearch::Capacity() const {
  if (repeats_.size() < kRepeats) return 0;
  return Sorted(repeats_)[repeats_.size() / 2];
}

double CapacitySearch::Spread() const {
  if (Capacity() <= 0) return 0;
  const std::vector<double> sorted = Sorted(repeats_);
  return (sorted.back() - sorted.front()) / Capacity();
}

}  // namespace longwave::load
