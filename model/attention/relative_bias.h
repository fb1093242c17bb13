#ifndef LONGWAVE_MODEL_ATTENTION_RELATIVE_BIAS_H_
#define LONGWAVE_MODEL_ATTENTION_RELATIVE_BIAS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/weights/model_config.h"
#include "model/weights/model_folder.h"

namespace longwave {

// The T5 bucket of offset o = j - i (key minus query), in [0, num_buckets). Not causal: keys after
// the query (o > 0) take the upper half of the buckets. Causal: all buckets look back and a key
// after the query has bucket 0. Each direction gives its first half one bucket a distance and lets
// the rest grow geometrically up to `max_distance`; beyond lies the last bucket.
int64_t T5Bucket(int64_t offset, int64_t num_buckets, int64_t max_distance, bool causal);

// b(o) of every head of one layer, o = j - i. Each side holds its values up to a distance D, and
// beyond D continues as a straight line from the last one: flat for all kinds but ALiBi, which has
// D = 0 and falls with its slope.
class RelativeBias {
 public:
  // INVALID_ARGUMENT if the stored tensor is absent, of another shape or not finite.
  static absl::StatusOr<RelativeBias> Create(const ModelConfig& config, const WeightMap& weights,
                                             int layer);

  // b(o) for o in [-reach, reach], one head after another, and the fall by a token beyond.
  // Precondition: near has falls.size() (2 reach + 1) values.
  static RelativeBias FromOffsets(int64_t reach, absl::Span<const float> near,
                                  absl::Span<const double> falls);

  int heads() const { return static_cast<int>(slopes_.size()); }
  // D: beyond this distance b is a straight line on both sides.
  int64_t explicit_distance() const { return explicit_distance_; }
  // Longest sequence for which b is defined; the largest integer unless a table refuses more.
  int64_t max_tokens() const { return max_tokens_; }
  // The slope of b by |o| beyond the explicit distance; the same on both sides.
  double slope(int head) const { return slopes_[head]; }
  double At(int head, int64_t offset) const;

 private:
  RelativeBias() = default;
  void FillSides(int head, int64_t distance, const std::vector<int64_t>& index_of_offset,
                 const float* stored);

  int64_t explicit_distance_ = 0;
  int64_t max_tokens_ = 0;
  std::vector<double> slopes_;
  // [heads][D + 1] by distance: keys at and before the query, keys at and after it.
  std::vector<std::vector<float>> before_;
  std::vector<std::vector<float>> after_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_RELATIVE_BIAS_H_
