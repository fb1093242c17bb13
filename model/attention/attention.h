#ifndef LONGWAVE_MODEL_ATTENTION_ATTENTION_H_
#define LONGWAVE_MODEL_ATTENTION_ATTENTION_H_

#include <ATen/core/TensorBase.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/api/encoder.h"
#include "model/weights/model_config.h"
#include "model/weights/model_folder.h"

// Internal to model/: the one header of the attention core that the encoder includes.
namespace longwave {

// The attention of one layer over one sequence, cut into phases of independent pieces. Phases run
// in order; the pieces of a phase may run in any order and on several threads at once. Results do
// not depend on either.
class AttentionPass {
 public:
  virtual ~AttentionPass() = default;
  virtual int phases() const = 0;
  // Asked when the phases before have run: some find out what is left to do.
  virtual int64_t Pieces(int phase) const = 0;
  // Floating-point operations of one piece of the phase, for cutting slices. A constant of the
  // shape where there are pieces.
  virtual double PieceFlops(int phase) const = 0;
  // Throws what LibTorch throws.
  virtual void Run(int phase, int64_t piece) = 0;
  // After the last phase: OK, or why this sequence has no result (DEGENERATE_DENOMINATOR).
  virtual absl::Status status() const = 0;
  // Memory beyond q, k, v and out, in bytes.
  virtual int64_t ResidentBytes() const = 0;
};

// What a pass costs: a function of shape, weights and route alone.
struct AttentionCost {
  double flops = 0;
  int64_t bytes = 0;  // beyond q, k, v and out
  double largest_piece_flops = 0;
};

// The part of a pass that one route has.
struct RouteShare {
  Route route = Route::kTiles;
  AttentionCost cost;
};

// What the precision guard of the FFT route took since the layer was made: heads of passes, by the
// arithmetic that was good enough. Tiles: no transform was, and the head was computed in tiles.
struct AttentionCounters {
  int64_t fft_fp32 = 0;
  int64_t fft_fp64 = 0;
  int64_t fft_tiles = 0;
  // Rows whose denominator was too small beside the largest for a transform, computed exactly.
  int64_t fft_rows_recomputed = 0;
};

// The attention of one layer: projection W, relative weights c with their structure, planner.
// Immutable but for its counters; shared by all jobs, which it outlives. Thread-safe. Symbols and
// equations: README.md in this folder.
class Attention {
 public:
  virtual ~Attention() = default;

  // The route that AUTO takes for most heads of a sequence of n tokens: a pure function of weights,
  // n, device class and build.
  virtual Route Plan(int64_t n) const = 0;
  // That of every head: "chunkwise", or "chunkwise 0-6 tiles 7" where they differ.
  virtual std::string PlanText(int64_t n) const = 0;
  // FAILED_PRECONDITION if the route is not exact for this layer's bias and features, or not sane
  // at this length.
  virtual absl::Status Check(int64_t n, Route route) const = 0;
  virtual AttentionCost Cost(int64_t n, Route route) const = 0;
  // The same by the routes of the heads: more than one part only for kAuto where heads differ.
  virtual std::vector<RouteShare> Shares(int64_t n, Route route) const = 0;
  // What outputs may be off by, 0 where all of them are exact: |z^_i - z_i| <= bound * sum over j
  // of w_ij |v_j - z_i| in each component, w being the attention's weights
  // (model/attention/README.md).
  virtual double ErrorBound(int64_t n, Route route) const = 0;
  virtual AttentionCounters Counters() const = 0;
  // Whose arithmetic tiles and chunkwise are: "avx512" and its like for our own kernels, "libtorch".
  virtual std::string Kernels() const = 0;
  // q, k, v, out: [n, heads, head_dim] fp32 on one device, any strides with the last one 1. q and k
  // are raw projections: normalisation, features and weights are the pass's. `out` may be the
  // memory of q (each piece writes only rows whose q no later piece reads). `route` passed Check;
  // kAuto: each head takes its own. Tensors are kept until the pass ends.
  virtual std::unique_ptr<AttentionPass> Begin(Route route, at::TensorBase q, at::TensorBase k,
                                               at::TensorBase v, at::TensorBase out) const = 0;
};

// `layer` in [0, config.num_layers). Device: "cpu", "cuda:0", ... `cpu_kernels`: the instruction
// set of our own kernels by name (model/kernels/cpu); "auto": the best one that LibTorch uses too.
absl::StatusOr<std::unique_ptr<const Attention>> CreateAttention(
    const ModelConfig& config, const WeightMap& weights, int layer, const std::string& device,
    absl::string_view cpu_kernels = "auto");

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ATTENTION_H_
