#ifndef LONGWAVE_MODEL_ATTENTION_BUCKET_LAYOUT_H_
#define LONGWAVE_MODEL_ATTENTION_BUCKET_LAYOUT_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "model/attention/toeplitz_weights.h"

namespace longwave {

// How one head with runs of constant c is computed, block of queries by block of queries. A key
// whose offsets to all queries of a block lie in one run needs no tile of its own: the sum of
// phi(k) [v | 1]^T over all such keys is taken once, times the run's c, and costs two prefix sums
// whatever the run's length. All other keys are tiles. A function of structure and length alone.
class BucketLayout {
 public:
  // Queries of a block.
  static constexpr int64_t kRows = 48;
  // Keys come in whole groups.
  static constexpr int64_t kGroup = 16;
  // Prefix sums begin anew so often, so that no difference of two of them cancels more than a
  // segment; sums of whole segments are kept in double.
  static constexpr int64_t kSegmentTokens = 4096;

  struct Keys {
    int64_t begin = 0;
    int64_t end = 0;
  };

  // `key_bytes`: of phi(k) and v of one key; `state_bytes`: of one prefix sum.
  BucketLayout(const HeadStructure& head, bool causal, int64_t n, int64_t key_bytes,
               int64_t state_bytes);

  int64_t tokens() const { return n_; }
  int64_t blocks() const { return (n_ + kRows - 1) / kRows; }
  int64_t segments() const { return (n_ + kSegmentTokens - 1) / kSegmentTokens; }
  // Tokens between two prefix sums of a segment: sums begin and end at its multiples. The finer,
  // the fewer keys beside the runs are tiles, and the more memory.
  int64_t stride() const { return stride_; }
  // Prefix sums that are kept: after each stride of each segment.
  int64_t prefixes() const { return segments() * (kSegmentTokens / stride_); }

  // Calls tile(keys) and sum(keys, log c) for one block, each key exactly once, ascending but for
  // the few where a tile follows the sum that it lies before. Tiles begin at whole groups and end
  // at one or after the last key; sums begin and end at strides.
  template <class Tile, class Sum>
  void Visit(int64_t block, const Tile& tile, const Sum& sum) const {
    const int64_t row = block * kRows;
    const int64_t end = causal_ ? std::min(n_, row + kRows) : n_;
    int64_t next = 0;  // the first key that is not visited yet
    const auto visit = [&](int64_t begin, int64_t run_end, double log_value) {
      // Whole strides within the run; a run that reaches the sequence's end takes the last, shorter
      // stride with it.
      begin = std::max(next, (std::max<int64_t>(begin, 0) + stride_ - 1) / stride_ * stride_);
      run_end =
          run_end >= end ? (end + stride_ - 1) / stride_ * stride_ : run_end / stride_ * stride_;
      if (run_end - begin < kLeastKeys || begin >= end) return;
      if (begin > next) tile(Keys{next, begin});
      sum(Keys{begin, run_end}, log_value);
      next = run_end;
    };
    for (auto run = before_.rbegin(); run != before_.rend(); ++run) {
      visit(run->end == ConstantRun::kForever ? 0 : row + kRows - run->end, row - run->first + 1,
            run->log_value);
    }
    for (const ConstantRun& run : after_) {
      visit(row + kRows - 1 + run.first,
            run.end == ConstantRun::kForever ? end : std::min(end, row + run.end), run.log_value);
    }
    if (next < end) tile(Keys{next, end});
  }

  // Means over blocks.
  double tile_keys() const { return tile_keys_; }
  double sums() const { return sums_; }

 private:
  // Fewer keys are cheaper as tiles.
  static constexpr int64_t kLeastKeys = 64;

  void Measure();

  std::vector<ConstantRun> before_;
  std::vector<ConstantRun> after_;
  const bool causal_;
  const int64_t n_;
  int64_t stride_ = kGroup;
  double tile_keys_ = 0;
  double sums_ = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_BUCKET_LAYOUT_H_
