#ifndef LONGWAVE_CLIENT_LOAD_HISTOGRAM_H_
#define LONGWAVE_CLIENT_LOAD_HISTOGRAM_H_

#include <cstdint>
#include <vector>

namespace longwave::load {

// Counts of durations from 1 ns to months, with a relative error below 2^-10 at any size: the
// log-linear histogram that load tests use. Values below 2^11 ns have a cell each; above, every
// doubling is cut into 2^10 cells of equal width. Not thread-safe.
class Histogram {
 public:
  // One line of the distribution: `count` of all values are at most `seconds`.
  struct Point {
    double percentile = 0;  // in [0, 100]
    double seconds = 0;
    int64_t count = 0;
  };

  // Negative durations count as 0.
  void Record(double seconds);
  void Merge(const Histogram& other);

  int64_t count() const { return count_; }
  // Exact; 0 if there is none.
  double min_seconds() const { return count_ == 0 ? 0 : min_nanos_ * 1e-9; }
  double max_seconds() const { return max_nanos_ * 1e-9; }
  double mean_seconds() const { return count_ == 0 ? 0 : sum_seconds_ / count_; }
  // The least value that at least this share of all values does not exceed, as the upper end of its
  // cell, never above the maximum; 0 if there is none.
  double Percentile(double percentile) const;
  // The distribution with `ticks` points for each halving of the distance to 100 %, up to the
  // maximum: as much detail in the tail as in the middle.
  std::vector<Point> Distribution(int ticks = 5) const;

 private:
  int64_t CountAtMost(double seconds) const;

  std::vector<int64_t> cells_;  // as many as were needed
  int64_t count_ = 0;
  int64_t min_nanos_ = 0;
  int64_t max_nanos_ = 0;
  double sum_seconds_ = 0;
};

}  // namespace longwave::load

#endif  // LONGWAVE_CLIENT_LOAD_HISTOGRAM_H_
