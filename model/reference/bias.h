#ifndef LONGWAVE_MODEL_REFERENCE_BIAS_H_
#define LONGWAVE_MODEL_REFERENCE_BIAS_H_

#include <cstdint>

#include "model/weights/model_config.h"
#include "model/weights/model_folder.h"

namespace longwave {

// The bucket of offset o = j - i (key minus query) in [0, num_buckets). Not causal: keys at or
// before the query take the lower half, keys after it (o > 0) the upper half. Causal: all buckets
// look back. In each range the first half of the buckets holds one distance each; the others grow
// geometrically up to max_distance, and the last one takes everything beyond. A distance that lies
// on a boundary in exact arithmetic belongs to the upper bucket.
int64_t ReferenceT5Bucket(int64_t offset, const BiasConfig& bias, bool causal);

// b(offset) of one head, from the stored tensor of weight_table.h. kTable and kClipped: offsets
// beyond the stored ones take the outermost (a kRefuse table never sees any). `layer` matters only
// if the bias is not shared. Precondition: the weights fit the config.
double ReferenceBias(const ModelConfig& config, const WeightMap& weights, int layer, int64_t head,
                     int64_t offset);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_REFERENCE_BIAS_H_
