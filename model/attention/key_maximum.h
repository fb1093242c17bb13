#ifndef LONGWAVE_MODEL_ATTENTION_KEY_MAXIMUM_H_
#define LONGWAVE_MODEL_ATTENTION_KEY_MAXIMUM_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/attention/feature_map.h"
#include "model/attention/layer_state.h"

namespace longwave {

// The largest exponent over all keys of each head, found range by range. A maximum per key would
// not cancel: it has to be one for the whole sequence.
class KeyMaximum {
 public:
  // Rows that one piece looks at.
  static constexpr int64_t kRows = 4096;

  // Pieces to run before Finish(); 0 if the features need no maximum.
  static int64_t Pieces(const BoundFeatures& features, int64_t tokens);

  KeyMaximum(const BoundFeatures& features, const RouteContext& context);
  void Run(int64_t piece);
  void Finish();
  // [heads, 1, 1]; undefined if the features need none. After Finish().
  const at::Tensor& Value() const { return value_; }

 private:
  const BoundFeatures& features_;
  const RouteContext& context_;
  std::vector<at::Tensor> maxima_;  // by piece
  at::Tensor value_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_KEY_MAXIMUM_H_
