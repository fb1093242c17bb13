#ifndef LONGWAVE_MODEL_WEIGHTS_WEIGHT_TABLE_H_
#define LONGWAVE_MODEL_WEIGHTS_WEIGHT_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/weights/model_config.h"

namespace longwave {

struct ExpectedWeight {
  std::string name;
  std::vector<int64_t> shape;
};

// Every tensor that a model of this config has, and no other. D hidden, H heads, d head_dim, m
// num_features, F intermediate, V vocabulary; <l> = 0 .. layers - 1. Linear weights are [out, in]
// as torch.nn.Linear's; biases and norm biases only with use_bias.
//
//   embeddings.token.weight [V, D]
//   embeddings.ngram.weight [buckets, dim]                          (ngrams)
//   embeddings.ngram_projection.weight [D, dim], no bias            (ngrams)
//   embeddings.word_keys [count, 4]: keys, ascending, as bytes      (words)
//   embeddings.word.weight [count, dim]                             (words)
//   embeddings.word_projection.weight [D, dim], no bias             (words)
//   embeddings.position.weight [position_table_length, D]          (learned positions)
//   embeddings.norm.weight, .bias [D]                              (embedding_norm)
//   layers.<l>.attention_norm.weight, .bias [D]
//   layers.<l>.attention.query|key|value.weight [H d, D], .bias [H d]
//   layers.<l>.attention.output.weight [D, H d], .bias [D]
//   layers.<l>.attention.projection [H, m, d]                      (prf, trf, sphere)
//   attention_bias or layers.<l>.attention.bias                    (shared_layers or not)
//       table [H, 2 table_length - 1], clipped [H, 2 max_distance + 1]: index 0 is the most
//       negative offset j - i; t5 [H, num_buckets]; alibi [H]: slopes s, b = -s |j - i|
//   layers.<l>.ffn_norm.weight, .bias [D]
//   layers.<l>.ffn.up.weight [F, D], .bias [F]; .gate likewise     (gate: swiglu)
//   layers.<l>.ffn.down.weight [D, F], .bias [D]
//   final_norm.weight, .bias [D]                                   (pre-norm, unless final_norm is
//   false)
std::vector<ExpectedWeight> ExpectedWeights(const ModelConfig& config);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_WEIGHTS_WEIGHT_TABLE_H_
