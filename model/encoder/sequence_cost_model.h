#ifndef LONGWAVE_MODEL_ENCODER_SEQUENCE_COST_MODEL_H_
#define LONGWAVE_MODEL_ENCODER_SEQUENCE_COST_MODEL_H_

#include <array>
#include <cstdint>

#include "model/api/encoder.h"
#include "model/encoder/stage_costs.h"
#include "model/encoder/transformer.h"

namespace longwave {

// How fast this machine is, measured at warm-up. It feeds predictions alone: what is computed, and
// by which route, never depends on it.
struct MeasuredRates {
  double dense_flops = 1e11;               // a second, all threads together
  std::array<double, 6> route_flops = {};  // by Route; 0: as dense_flops / RouteFlopWeight
  double job_seconds = 1e-4;               // what a job costs beside its work
};

// What one sequence costs when it is encoded alone: a function of its shape.
class SequenceCostModel {
 public:
  // `transformer` outlives the model. `threads` >= 1: how many row tiles are worked on at once.
  SequenceCostModel(const Transformer* transformer, int threads);

  void SetRates(const MeasuredRates& rates) { rates_ = rates; }
  const MeasuredRates& rates() const { return rates_; }

  // Precondition: `route` (kAuto: every layer's plan) passed Attention::Check at this length.
  CostPrediction Predict(int64_t tokens, const OutputSpec& output, Route route) const;
  // Hashing n-grams, embedding and the matrix products of the first `layers` layers over the padded
  // rows.
  double DenseFlops(int64_t tokens, int layers) const;
  // The attention of all layers, unweighted.
  double AttentionFlops(int64_t tokens, Route route) const;
  // Seconds of the largest piece that cannot be cut.
  double LargestPieceSeconds(int64_t tokens, Route route) const;

 private:
  double RouteRate(Route route) const;
  double SentBytes(int64_t tokens, const OutputSpec& output) const;
  int64_t PeakBytes(int64_t tokens, const OutputSpec& output, Route route) const;

  const Transformer& transformer_;
  const int threads_;
  MeasuredRates rates_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_SEQUENCE_COST_MODEL_H_
