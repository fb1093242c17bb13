#include "client/load/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace longwave::load {
namespace {

// 2^-10 of relative error: three digits, finer than any latency repeats.
constexpr int kCellBits = 10;
constexpr int64_t kLinearEnd = int64_t{2} << kCellBits;
constexpr int64_t kMaxNanos = int64_t{1} << 60;  // 36 years

size_t CellOf(int64_t nanos) {
  if (nanos < kLinearEnd) return static_cast<size_t>(nanos);
  const int shift = std::bit_width(static_cast<uint64_t>(nanos)) - kCellBits - 1;
  // The top kCellBits + 1 bits are in [2^kCellBits, 2^(kCellBits + 1)).
  return static_cast<size_t>((int64_t{shift} << kCellBits) + (nanos >> shift));
}

// The largest value of a cell.
int64_t CellEnd(size_t cell) {
  if (cell < kLinearEnd) return static_cast<int64_t>(cell);
  const int shift = static_cast<int>(cell >> kCellBits) - 1;
  const int64_t top = static_cast<int64_t>(cell) - (int64_t{shift} << kCellBits);
  return ((top + 1) << shift) - 1;
}

int64_t ToNanos(double seconds) {
  return static_cast<int64_t>(std::clamp(std::round(seconds * 1e9), 0.0, double{kMaxNanos}));
}

}  // namespace

void Histogram::Record(double seconds) {
  const int64_t nanos = ToNanos(seconds);
  const size_t cell = CellOf(nanos);
  if (cell >= cells_.size()) cells_.resize(cell + 1);
  ++cells_[cell];
  min_nanos_ = count_ == 0 ? nanos : std::min(min_nanos_, nanos);
  max_nanos_ = std::max(max_nanos_, nanos);
  sum_seconds_ += nanos * 1e-9;
  ++count_;
}

void Histogram::Merge(const Histogram& other) {
  if (other.count_ == 0) return;
  if (other.cells_.size() > cells_.size()) cells_.resize(other.cells_.size());
  for (size_t i = 0; i < other.cells_.size(); ++i) cells_[i] += other.cells_[i];
  min_nanos_ = count_ == 0 ? other.min_nanos_ : std::min(min_nanos_, other.min_nanos_);
  max_nanos_ = std::max(max_nanos_, other.max_nanos_);
  sum_seconds_ += other.sum_seconds_;
  count_ += other.count_;
}

double Histogram::Percentile(double percentile) const {
  if (count_ == 0) return 0;
  const double share = std::clamp(percentile, 0.0, 100.0) / 100;
  // The small number takes back what the division added: 99 % of 100 are 99.
  const auto wanted = std::max<int64_t>(1, std::ceil(share * count_ - 1e-9 * count_));
  int64_t seen = 0;
  for (size_t cell = 0; cell < cells_.size(); ++cell) {
    seen += cells_[cell];
    if (seen >= wanted) return std::min(CellEnd(cell), max_nanos_) * 1e-9;
  }
  return max_seconds();
}

int64_t Histogram::CountAtMost(double seconds) const {
  const size_t end = std::min(cells_.size(), CellOf(ToNanos(seconds)) + 1);
  int64_t seen = 0;
  for (size_t cell = 0; cell < end; ++cell) seen += cells_[cell];
  return seen;
}

std::vector<Histogram::Point> Histogram::Distribution(int ticks) const {
  std::vector<Point> points;
  if (count_ == 0) return points;
  double percentile = 0;
  for (double step = 50.0 / ticks; step * count_ > 50.0 / ticks; step /= 2) {
    for (int i = 0; i < ticks; ++i) {
      const double seconds = Percentile(percentile);
      points.push_back({percentile, seconds, CountAtMost(seconds)});
      percentile += step;
    }
  }
  points.push_back({100, max_seconds(), count_});
  return points;
}

}  // namespace longwave::load
