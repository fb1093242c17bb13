#ifndef LONGWAVE_CLIENT_LOAD_CAPACITY_SEARCH_H_
#define LONGWAVE_CLIENT_LOAD_CAPACITY_SEARCH_H_

#include <optional>
#include <vector>

namespace longwave::load {

// Finds the highest goodput by steps: the rate is doubled until goodput falls behind it, then the
// gap is halved until it is narrow, then the best rate is measured again. Pure policy: it says
// which rate to measure next and is told what came of it.
class CapacitySearch {
 public:
  // Goodput below this share of the offered rate means that the rate was too high.
  static constexpr double kKept = 0.95;
  // The search ends when the lowest rate that was too high is this close to the highest that was
  // not.
  static constexpr double kNarrow = 1.08;
  // How often the best rate is measured in the end.
  static constexpr int kRepeats = 3;

  // Precondition: first_rate > 0.
  explicit CapacitySearch(double first_rate, double highest_rate = 1e6)
      : highest_rate_(highest_rate), next_(first_rate) {}

  // The rate to measure next; none: the search is over.
  std::optional<double> NextRate() const;
  void Add(double offered_per_second, double good_per_second);

  // The median of the goodputs at the best rate; 0 before the end.
  double Capacity() const;
  // (highest - lowest) / median of them.
  double Spread() const;

 private:
  bool Narrow() const { return low_ > 0 && high_ > 0 && high_ <= low_ * kNarrow; }

  const double highest_rate_;
  double next_;
  double low_ = 0;   // highest rate that was kept; 0: none yet
  double high_ = 0;  // lowest rate that was not; 0: none yet
  bool repeating_ = false;
  std::vector<double> repeats_;  // goodputs at the rate `high_`
};

}  // namespace longwave::load

#endif  // LONGWAVE_CLIENT_LOAD_CAPACITY_SEARCH_H_
