#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_PAIRS_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_PAIRS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "model/attention/attention.h"
#include "model/attention/layer_state.h"
#include "model/attention/routes/fft_device.h"
#include "model/attention/routes/fft_spectra.h"

namespace longwave {

// What is held at once. Defaults for a card: batches that fill it and leave room for other jobs.
struct FftPairsLimits {
  int64_t product_bytes = int64_t{512} << 20;   // channels in one batch of transforms
  int64_t feature_bytes = int64_t{256} << 20;   // phi of queries and keys that is kept
  int64_t spectrum_bytes = int64_t{128} << 20;  // of one layer; more may be alive in passes
};

// Algorithm 1 of arXiv 2106.12566 (fft.h) for devices that want large batches: head by head, groups
// of features times pairs of columns, two real columns in one complex transform. Exact for every
// bias, positive features only; the caller chooses the precision. Rows whose denominator is too
// small beside the head's largest are computed once more without transforms and counted, as CpuFft
// (fft.h) does. One per layer; thread-safe.
class FftPairs {
 public:
  // `layer` outlives this.
  FftPairs(const LayerState* layer, std::shared_ptr<FftDevice> device, FftPairsLimits limits = {});

  // At load, for sequences of up to `longest` tokens: transforms of every length at which a head is
  // computed by them, and spectra of c from the shortest on until the limit is reached.
  // `heads_at(n)`: the heads that AUTO computes so; asked at powers of two.
  void Prepare(int64_t longest,
               const std::function<std::vector<int64_t>(int64_t n)>& heads_at) const;
  // All pieces of a phase follow one another on the current stream. This outlives the pass.
  std::unique_ptr<AttentionPass> Begin(RouteContext context) const;

  // Rows that were computed once more, since this was made.
  int64_t rows_recomputed() const { return rows_recomputed_.load(std::memory_order_relaxed); }

 private:
  void PrepareHead(int head, int64_t first, int64_t last) const;

  const LayerState& layer_;
  const std::shared_ptr<FftDevice> device_;
  const FftPairsLimits limits_;
  const std::shared_ptr<FftSpectra> spectra_;
  mutable std::atomic<int64_t> rows_recomputed_{0};
};

// Of `heads` heads of the shape, with the default limits.
AttentionCost FftPairsCost(const AttentionShape& shape, int64_t heads, int64_t n,
                           at::ScalarType type);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_PAIRS_H_
