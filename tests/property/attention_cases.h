#ifndef LONGWAVE_TESTS_PROPERTY_ATTENTION_CASES_H_
#define LONGWAVE_TESTS_PROPERTY_ATTENTION_CASES_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/attention/attention.h"
#include "model/attention/layer_state.h"
#include "model/reference/attention.h"
#include "model/weights/model_config.h"
#include "model/weights/model_folder.h"

namespace longwave {

// One layer's attention: configuration and stored tensors.
struct AttentionCase {
  std::string name;
  ModelConfig config;
  WeightMap weights;
};

// Two heads of 16, 24 features of orthogonal rows; config.attention as given. The bias tensor is
// `bias` where that is set, else seeded normals of this spread.
struct CaseSpec {
  std::string name;
  AttentionConfig attention;
  int64_t max_tokens = 4096;
  double spread = 1.0;
  // b of (head, column of the stored tensor).
  std::function<double(int64_t head, int64_t column)> bias;
};
AttentionCase MakeCase(const CaseSpec& spec);

// Raw projections of one sequence, [n, heads, head_dim] fp32 on the host, from a seed.
struct AttentionInput {
  at::Tensor q, k, v;
  int64_t tokens() const { return q.size(0); }
};
AttentionInput RandomInput(const ModelConfig& config, int64_t n, uint64_t seed);

// Runs all pieces of all phases, in order or backwards within each phase.
void RunAll(AttentionPass& pass, bool backwards = false);
// The output of one route, through the public interface.
at::Tensor RunRoute(const Attention& attention, Route route, const AttentionInput& input);
// These rows of every head by the reference in double, [rows, heads, head_dim].
at::Tensor ReferenceOutput(const AttentionCase& which, const AttentionInput& input,
                           const std::vector<int64_t>& rows);
std::vector<int64_t> AllRows(int64_t n);
// 64 rows in runs of 8: both ends, edges of blocks of 128, and between. All rows of short
// sequences.
std::vector<int64_t> SampledRows(int64_t n);
// These rows of an output.
at::Tensor RowsOf(const at::Tensor& output, const std::vector<int64_t>& rows);

// What the routes share, for tests that pick the precision themselves.
std::unique_ptr<LayerState> MakeLayerState(const AttentionCase& which);
// Output of a route built from its own factory, in this precision.
RouteContext MakeContext(const LayerState& layer, const AttentionInput& input,
                         at::ScalarType precision);

// max |a - b| over max |v|: weights sum to one, so no output exceeds the largest value.
double RelativeError(const at::Tensor& actual, const at::Tensor& expected,
                     const AttentionInput& input);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_PROPERTY_ATTENTION_CASES_H_
