#include "server/rpc/request_decoder.h"

#include <cstring>
#include <vector>

namespace longwave {
namespace {

RequestedSpan ToSpan(const v1::Span& span) {
  return {.sequence = span.sequence(), .begin = span.begin(), .end = span.end()};
}

std::vector<RequestedSpan> ToSpans(const google::protobuf::RepeatedPtrField<v1::Span>& spans) {
  std::vector<RequestedSpan> result;
  result.reserve(spans.size());
  for (const v1::Span& span : spans) result.push_back(ToSpan(span));
  return result;
}

// Little-endian, as the machine is (row_packer.cc asserts it). A rest of 1 to 3 bytes is left out;
// rows_indices_bytes tells the validator.
std::vector<uint32_t> ToIndices(const std::string& bytes) {
  std::vector<uint32_t> indices(bytes.size() / sizeof(uint32_t));
  if (!indices.empty()) {
    std::memcpy(indices.data(), bytes.data(), indices.size() * sizeof(uint32_t));
  }
  return indices;
}

void ReadTokens(const v1::TokenBatch& tokens, EncodeRequestData& data) {
  data.ids_bytes = tokens.ids();
  data.id_width = tokens.id_width();
  data.lengths.assign(tokens.lengths().begin(), tokens.lengths().end());
  data.ids_list.assign(tokens.ids_list().begin(), tokens.ids_list().end());
  data.has_positions = !tokens.positions().empty();
  data.has_frames = tokens.has_frames();
  data.has_relations = tokens.has_relations();
}

void ReadOutput(const v1::OutputSpec& output, EncodeRequestData& data) {
  data.pooling = output.pooling();
  data.spans = ToSpans(output.spans());
  if (output.has_rows()) {
    data.rows = RequestedRows{.stride = output.rows().stride(),
                              .ranges = ToSpans(output.rows().ranges()),
                              .indices = ToIndices(output.rows().indices())};
    data.rows_indices_bytes = output.rows().indices().size();
  }
  data.layers.assign(output.layers().begin(), output.layers().end());
  data.dtype = output.dtype();
  if (output.has_normalize()) data.normalize = output.normalize();
  data.truncate_dim = output.truncate_dim();
  data.allow_undeclared_dim = output.allow_undeclared_dim();
}

}  // namespace

EncodeRequestData ToRequestData(const v1::EncodeRequest& request) {
  EncodeRequestData data;
  data.model = request.model();
  data.model_version = request.model_version();
  data.request_id = request.request_id();
  ReadTokens(request.tokens(), data);
  ReadOutput(request.output(), data);
  data.truncation_side = request.truncation().side();
  data.truncation_max_tokens = request.truncation().max_tokens();
  data.priority = request.priority();
  data.tenant = request.tenant();
  data.deterministic = request.deterministic();
  data.route_override = request.route_override();
  data.tokenizer_fingerprint = request.tokenizer_fingerprint();
  return data;
}

EncodeRequestData ToRequestData(const v1::EstimateEncodeRequest& request) {
  EncodeRequestData data;
  data.model = request.model();
  data.model_version = request.model_version();
  data.id_width = v1::ID_WIDTH_U32;
  data.lengths.assign(request.lengths().begin(), request.lengths().end());
  ReadOutput(request.output(), data);
  data.priority = request.priority();
  data.route_override = request.route_override();
  return data;
}

}  // namespace longwave
