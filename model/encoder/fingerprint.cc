#include "model/encoder/fingerprint.h"

#include <ATen/Version.h>
#include <torch/version.h>

#include <algorithm>
#include <bit>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/attention/route_costs.h"
#include "model/encoder/device_linear.h"
#include "model/encoder/linear.h"
#include "model/weights/file.h"

namespace longwave {
namespace {

// The first length in (begin, end] that is planned as `end` is. Precondition: the plan changes once
// between them.
int64_t FirstLengthPlannedAs(const Attention& attention, int64_t begin, int64_t end) {
  const std::string plan = attention.PlanText(end);
  while (end - begin > 1) {
    const int64_t middle = begin + (end - begin) / 2;
    (attention.PlanText(middle) == plan ? end : begin) = middle;
  }
  return end;
}

// "chunkwise" or "tiles;4097:fft": the planner's decisions beside the digest of its costs. A change
// that is undone within a factor of two of the length would not be seen.
std::string PlansText(const Attention& attention, int64_t max_tokens) {
  std::string last = attention.PlanText(1);
  std::string text = last;
  for (int64_t begin = 1; begin < max_tokens; begin *= 2) {
    const int64_t end = std::min(2 * begin, max_tokens);
    const std::string plan = attention.PlanText(end);
    if (plan == last) continue;
    absl::StrAppend(&text, ";", FirstLengthPlannedAs(attention, begin, end), ":", plan);
    last = plan;
  }
  return text;
}

// Every number of the config: the digest of the weights does not cover it.
std::string ConfigText(const ModelConfig& c) {
  const AttentionConfig& a = c.attention;
  const BiasConfig& b = a.bias;
  return absl::StrJoin(
      std::make_tuple(
          c.hidden_size, c.num_layers, c.num_heads, c.head_dim, c.intermediate_size, c.vocab_size,
          c.max_tokens, static_cast<int>(c.activation), static_cast<int>(c.norm_position),
          c.has_final_norm(), c.use_bias, c.embedding_norm,
          absl::StrCat(absl::Hex(std::bit_cast<uint64_t>(c.layer_norm_eps))),
          static_cast<int>(c.positions), c.position_table_length,
          absl::StrJoin(c.ngrams.sizes, "+"), c.ngrams.buckets, c.ngrams.dim, c.words.count,
          c.words.dim, static_cast<int>(a.features), a.num_features, a.qk_norm,
          absl::StrCat(absl::Hex(std::bit_cast<uint64_t>(a.scale))), a.causal,
          absl::StrCat(absl::Hex(std::bit_cast<uint64_t>(a.interpolation_error))),
          static_cast<int>(b.kind), b.shared_layers, b.max_distance, b.num_buckets, b.table_length,
          static_cast<int>(b.beyond)),
      " ");
}

}  // namespace

std::string Fingerprint(const std::string& weights_digest, const Transformer& transformer,
                        const SelectedDevice& device, const std::string& compute_dtype) {
  std::string text = absl::StrCat(
      "weights ", weights_digest, "\nconfig ", ConfigText(transformer.config()), "\nlongwave ",
      LONGWAVE_VERSION, "\nlibtorch ", TORCH_VERSION, "\ndevice ", DeviceClassText(device),
      "\nkernels ", device.device.is_cuda() ? CudaLinearKernels() : CpuLinearKernels(), "\ndtype ",
      compute_dtype, "\ntile_rows ", transformer.tile_rows(), "\nroute_costs ",
      Sha256Hex(BuiltInRouteCostsText()));
  for (int layer = 0; layer < transformer.layers(); ++layer) {
    absl::StrAppend(&text, "\nattention ", layer, " ", transformer.attention(layer).Kernels(), " ",
                    PlansText(transformer.attention(layer), transformer.config().max_tokens));
  }
  return Sha256Hex(text);
}

}  // namespace longwave
