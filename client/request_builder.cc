#include "client/request_builder.h"

#include <algorithm>
#include <bit>

namespace longwave::client {
namespace {

static_assert(std::endian::native == std::endian::little, "the wire is little-endian");

template <typename Id>
void AppendAs(absl::Span<const TokenSequence> sequences, std::string& bytes) {
  for (const TokenSequence ids : sequences) {
    for (const uint32_t id : ids) {
      const Id narrow = static_cast<Id>(id);
      bytes.append(reinterpret_cast<const char*>(&narrow), sizeof(Id));
    }
  }
}

void AddSpans(const std::vector<TokenSpan>& spans, uint32_t first, uint32_t count,
              google::protobuf::RepeatedPtrField<v1::Span>* out) {
  for (const TokenSpan& span : spans) {
    if (span.sequence < first || span.sequence - first >= count) continue;
    v1::Span* added = out->Add();
    added->set_sequence(span.sequence - first);
    added->set_begin(span.begin);
    added->set_end(span.end);
  }
}

}  // namespace

PackedIds PackIds(absl::Span<const TokenSequence> sequences) {
  uint32_t largest = 0;
  size_t total = 0;
  for (const TokenSequence ids : sequences) {
    for (const uint32_t id : ids) largest = std::max(largest, id);
    total += ids.size();
  }
  PackedIds packed;
  if (largest <= 0xFF) {
    packed.bytes.reserve(total);
    AppendAs<uint8_t>(sequences, packed.bytes);
  } else if (largest <= 0xFFFF) {
    packed.width = v1::ID_WIDTH_U16;
    packed.bytes.reserve(2 * total);
    AppendAs<uint16_t>(sequences, packed.bytes);
  } else {
    packed.width = v1::ID_WIDTH_U32;
    packed.bytes.reserve(4 * total);
    AppendAs<uint32_t>(sequences, packed.bytes);
  }
  return packed;
}

v1::OutputSpec MakeOutputSpec(const EncodeOptions& options, uint32_t first, uint32_t count) {
  v1::OutputSpec output;
  output.set_pooling(options.pooling);
  AddSpans(options.spans, first, count, output.mutable_spans());
  if (options.row_stride > 1 || !options.row_ranges.empty()) {
    output.mutable_rows()->set_stride(options.row_stride);
    AddSpans(options.row_ranges, first, count, output.mutable_rows()->mutable_ranges());
  }
  output.mutable_layers()->Add(options.layers.begin(), options.layers.end());
  output.set_dtype(options.dtype);
  if (options.normalize.has_value()) output.set_normalize(*options.normalize);
  output.set_truncate_dim(options.truncate_dim);
  output.set_allow_undeclared_dim(options.allow_undeclared_dim);
  return output;
}

v1::EncodeRequest MakeRequest(const EncodeOptions& options, absl::Span<const uint32_t> lengths,
                              uint32_t first) {
  v1::EncodeRequest request;
  request.set_model(options.model);
  request.set_model_version(options.model_version);
  request.set_request_id(options.request_id);
  request.mutable_tokens()->mutable_lengths()->Add(lengths.begin(), lengths.end());
  *request.mutable_output() = MakeOutputSpec(options, first, static_cast<uint32_t>(lengths.size()));
  if (options.truncation != v1::TRUNCATION_SIDE_UNSPECIFIED) {
    request.mutable_truncation()->set_side(options.truncation);
    request.mutable_truncation()->set_max_tokens(options.max_tokens);
  }
  request.set_priority(options.priority);
  request.set_tenant(options.tenant);
  request.set_deterministic(options.deterministic);
  request.set_route_override(options.route);
  request.set_tokenizer_fingerprint(options.tokenizer_fingerprint);
  return request;
}

}  // namespace longwave::client
