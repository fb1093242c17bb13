#ifndef LONGWAVE_TESTS_BENCH_SOFTMAX_ENCODER_H_
#define LONGWAVE_TESTS_BENCH_SOFTMAX_ENCODER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/base/compute_pool.h"
#include "model/encoder/transformer.h"
#include "model/weights/model_folder.h"

namespace longwave {

// The softmax twin: our encoder (its embedding, norms, packed dense layers and row tiles, on our
// pool) with LibTorch's scaled_dot_product_attention, without bias, in the place of our attention.
class SoftmaxTwin {
 public:
  // Precondition: the model has neither positions nor n-grams. `pool` outlives the twin. Its
  // threads take the heads in turn: LibTorch's own threads would have to be woken between two
  // stages of the pool.
  SoftmaxTwin(const ModelFolder& folder, ComputePool* pool);

  // The mean of the last layer's rows: [D].
  at::Tensor Encode(const std::vector<int32_t>& ids);

 private:
  std::unique_ptr<const Transformer> transformer_;
  ComputePool* const pool_;
};

// LibTorch's own encoder of the same weights: at::_transformer_encoder_layer_fwd, what its
// nn.TransformerEncoderLayer runs in inference, layer by layer, with its embedding and final norm.
class NnEncoder {
 public:
  // kFused: that one call a layer. kSdpa: the same layer from linear, layer_norm, gelu and
  // scaled_dot_product_attention, as nn.TransformerEncoderLayer runs when its fused call does not
  // apply.
  enum class Form { kFused, kSdpa };
  // Precondition: as SoftmaxTwin's; pre-norm with biases and GELU.
  NnEncoder(const ModelFolder& folder, Form form);

  at::Tensor Encode(const std::vector<int32_t>& ids) const;

 private:
  struct Layer {
    at::Tensor norm1_weight, norm1_bias, qkv_weight, qkv_bias, output_weight, output_bias;
    at::Tensor norm2_weight, norm2_bias, up_weight, up_bias, down_weight, down_bias;
  };
  at::Tensor RunFused(const Layer& layer, const at::Tensor& x) const;
  at::Tensor RunSdpa(const Layer& layer, const at::Tensor& x) const;

  Form form_;
  int64_t heads_;
  double eps_;
  at::Tensor embedding_, norm_weight_, norm_bias_;
  std::vector<Layer> layers_;
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_SOFTMAX_ENCODER_H_
