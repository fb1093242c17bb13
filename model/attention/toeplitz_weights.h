#ifndef LONGWAVE_MODEL_ATTENTION_TOEPLITZ_WEIGHTS_H_
#define LONGWAVE_MODEL_ATTENTION_TOEPLITZ_WEIGHTS_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <vector>

#include "model/attention/relative_bias.h"
#include "model/base/mutex.h"

namespace longwave {

// One side of c beyond the band: c(o) = exp(log_scale + log_ratio |o|), or nothing at all.
struct ToeplitzTail {
  bool absent = true;  // c = 0 beyond the band
  double log_scale = 0;
  double log_ratio = 0;  // <= 0; 0: constant
};

// A range of distances over which c is constant.
struct ConstantRun {
  int64_t first = 0;
  int64_t end = 0;  // exclusive; kForever if c stays constant at any distance
  double log_value = 0;

  static constexpr int64_t kForever = std::numeric_limits<int64_t>::max();
};

// One side of one head's c, by distance |o|: what routes faster than n^2 rest on. Both descriptions
// are of the same numbers; a table of noise has neither.
struct ToeplitzSide {
  // Whether `tail` holds for every distance from `band` on.
  bool has_tail = false;
  ToeplitzTail tail;
  int64_t band = 0;
  // The runs of at least kMinRunTokens, ascending and disjoint (logarithmic buckets, say). What
  // lies between them may be anything.
  std::vector<ConstantRun> runs;
  // Whether they cover at least half of all distances.
  bool mostly_runs = false;

  // A run that is shorter saves less than keeping its sums costs.
  static constexpr int64_t kMinRunTokens = 128;
};

// What was found in one head's c at load.
struct HeadStructure {
  ToeplitzSide before;
  ToeplitzSide after;  // causal: an absent tail at distance 1

  // Tails on both sides.
  bool tailed() const { return before.has_tail && after.has_tail; }
  // Runs on both sides, so that work linear in n is enough.
  bool bucketed() const { return before.mostly_runs && after.mostly_runs; }
  int64_t band() const { return std::max(before.band, after.band); }
};

// The relative weights of one layer: per head the Toeplitz matrix C_ij = c(j - i) with
// c(o) = exp(b(o) - max b), the maximum over all offsets that a sequence can have, and c(o) = 0 for
// o > 0 if causal. Immutable but for a cache; thread-safe.
class ToeplitzWeights {
 public:
  // `max_tokens`: longest sequence that will be asked for. The structure is found here, from the
  // numbers.
  ToeplitzWeights(RelativeBias bias, bool causal, int64_t max_tokens);

  int heads() const { return bias_.heads(); }
  bool causal() const { return causal_; }
  // Longest sequence for which the weights are defined.
  int64_t max_tokens() const { return bias_.max_tokens(); }

  // log c(o); minus infinity where c is zero. Offsets that no sequence has (padding has) take the
  // outermost that one has, so that none exceeds the maximum.
  double Log(int head, int64_t offset) const;
  // c(o) for o = first .. last.
  std::vector<double> Range(int head, int64_t first, int64_t last) const;
  std::vector<double> LogRange(int head, int64_t first, int64_t last) const;

  // Found at load from the numbers alone, head by head: one head with a free table does not spoil
  // the others.
  const HeadStructure& structure(int head) const { return structures_[head]; }
  // Whether c is constant or exponential (or zero) beyond band() on both sides of every head, so
  // that O(n) is enough.
  bool structured() const { return structured_; }
  // K, the smallest distance such that the tails hold for every |o| >= K in every head.
  // Precondition: structured().
  int64_t band() const { return band_; }
  const ToeplitzTail& before(int head) const { return structures_[head].before.tail; }
  const ToeplitzTail& after(int head) const { return structures_[head].after.tail; }

  // The largest distance that any sequence has.
  int64_t last_offset() const { return last_offset_; }

  // Largest over smallest row sum of C for a sequence of n tokens. In O(n) at first, then cached.
  double RowSumRatio(int head, int64_t n) const;
  // max b - b(0), the largest of all heads: no row of any sequence has a largest weight below
  // exp(-Spread()), since offset 0 is in every row.
  double Spread() const { return spread_; }

 private:
  // `sign`: -1 before the query, 1 after it.
  ToeplitzSide FindTail(int head, int sign) const;
  ToeplitzSide FollowTail(int head, int sign, int64_t end, const ToeplitzTail& tail) const;
  void FindRuns(int head, int sign, ToeplitzSide& side) const;
  ToeplitzTail FitOuterHalf(int head, int sign, int64_t end) const;
  double ComputeRowSumRatio(int head, int64_t n) const;

  const RelativeBias bias_;
  const bool causal_;
  const int64_t last_offset_;  // of the longest sequence
  std::vector<double> max_bias_;
  double spread_ = 0;
  bool structured_ = true;
  int64_t band_ = 0;
  std::vector<HeadStructure> structures_;

  mutable Mutex mutex_;
  mutable std::map<int64_t, std::vector<double>> ratios_ ABSL_GUARDED_BY(mutex_);  // by n
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_TOEPLITZ_WEIGHTS_H_
