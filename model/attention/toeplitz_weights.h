#ifndef LONGWAVE_MODEL_ATTENTION_TOEPLITZ_WEIGHTS_H_
#define LONGWAVE_MODEL_ATTENTION_TOEPLITZ_WEIGHTS_H_

#include <cstdint>
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

  // Whether c is constant or exponential (or zero) beyond band() on both sides of every head, so
  // that O(n) is enough.
  bool structured() const { return structured_; }
  // K, the smallest distance such that the tails hold for every |o| >= K in every head.
  // Precondition: structured().
  int64_t band() const { return band_; }
  const ToeplitzTail& before(int head) const { return before_[head]; }
  const ToeplitzTail& after(int head) const { return after_[head]; }

  // Largest over smallest row sum of C for a sequence of n tokens. In O(n) at first, then cached.
  double RowSumRatio(int head, int64_t n) const;
  // max b - b(0), the largest of all heads: no row of any sequence has a largest weight below
  // exp(-Spread()), since offset 0 is in every row.
  double Spread() const { return spread_; }

 private:
  struct Side {
    ToeplitzTail tail;
    int64_t band = 0;
    bool found = false;
  };
  // `sign`: -1 before the query, 1 after it.
  Side FindTail(int head, int sign) const;
  Side FollowTail(int head, int sign, int64_t end, const ToeplitzTail& tail) const;
  ToeplitzTail FitOuterHalf(int head, int sign, int64_t end) const;
  double ComputeRowSumRatio(int head, int64_t n) const;

  const RelativeBias bias_;
  const bool causal_;
  const int64_t last_offset_;  // of the longest sequence
  std::vector<double> max_bias_;
  double spread_ = 0;
  bool structured_ = true;
  int64_t band_ = 0;
  std::vector<ToeplitzTail> before_;
  std::vector<ToeplitzTail> after_;

  mutable Mutex mutex_;
  mutable std::map<int64_t, std::vector<double>> ratios_ ABSL_GUARDED_BY(mutex_);  // by n
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_TOEPLITZ_WEIGHTS_H_
