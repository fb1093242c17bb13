#include "server/rpc/inference/infer_format.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "longwave/v1/encode.pb.h"
#include "model/base/error.h"
#include "server/admission/field_error.h"
#include "server/observability/safe_text.h"
#include "server/rpc/inference/infer_parameters.h"
#include "server/rpc/inference/integer_tensor.h"
#include "server/rpc/inference/token_tensors.h"
#include "server/rpc/message_io.h"

namespace longwave {
namespace {

using inference::ModelInferRequest;
using inference::ModelInferResponse;

// A parameter by which clients of streams ask to be told which answer is the last one to a request,
// and the one that tells it. Here every request has one answer.
constexpr char kAskFinal[] = "triton_enable_empty_final_response";
constexpr char kFinal[] = "triton_final_response";

// What this format calls the fields of our own API. The first that fits decides.
constexpr std::array<std::pair<const char*, const char*>, 13> kFields = {{
    {"tokens.ids", "inputs[input_ids]"},
    {"tokens", "inputs[input_ids]"},
    {"output.spans", "inputs[spans]"},
    {"output.pooling", "parameters[pooling]"},
    {"output.dtype", "parameters[dtype]"},
    {"output.truncate_dim", "parameters[truncate_dim]"},
    {"truncation.max_tokens", "parameters[truncate_max_tokens]"},
    {"truncation.side", "parameters[truncation_side]"},
    {"tokenizer_fingerprint", "parameters[tokenizer_fingerprint]"},
    {"deterministic", "parameters[deterministic]"},
    {"request_id", "id"},
    {"model_version", "model_version"},
    {"model", "model_name"},
}};

const char* DatatypeOf(int type) {
  switch (type) {
    case v1::DATA_TYPE_FP16:
      return "FP16";
    case v1::DATA_TYPE_BF16:
      return "BF16";
    case v1::DATA_TYPE_INT8:
      return "INT8";
    case v1::DATA_TYPE_BINARY:
      return "UINT8";
    default:
      return "FP32";
  }
}

void AddOutput(const char* name, const char* datatype, std::array<int64_t, 2> shape,
               std::string bytes, ModelInferResponse* response) {
  auto* output = response->add_outputs();
  output->set_name(name);
  output->set_datatype(datatype);
  for (const int64_t size : shape) output->add_shape(size);
  *response->add_raw_output_contents() = std::move(bytes);
}

template <typename T>
std::string BytesOf(const T* values, size_t count) {
  return {reinterpret_cast<const char*>(values), count * sizeof(T)};
}

std::string RouteNames(absl::Span<const SequenceSummary> sequences) {
  std::vector<std::string> names;
  for (const SequenceSummary& sequence : sequences) {
    const std::string name(RouteName(sequence.report.route));
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return absl::StrJoin(names, ",");
}

bool AnyTruncated(absl::Span<const SequenceSummary> sequences) {
  for (const SequenceSummary& sequence : sequences) {
    if (sequence.truncated) return true;
  }
  return false;
}

// Times as a message of their own, which parsers merge with what came before (encode_format.cc).
ModelInferResponse TimesMessage(const StageTimes& stages) {
  ModelInferResponse times;
  auto& parameters = *times.mutable_parameters();
  parameters["longwave_queue_ms"].set_double_param(ToSeconds(stages.queue) * 1e3);
  parameters["longwave_compute_ms"].set_double_param(ToSeconds(stages.compute) * 1e3);
  parameters["longwave_total_ms"].set_double_param(ToSeconds(stages.total) * 1e3);
  return times;
}

// What stands before `bytes` bytes of infer_response in the message of a stream: one field, since
// not every client's parser merges two.
grpc::Slice FieldHead(size_t bytes) {
  using google::protobuf::internal::WireFormatLite;
  using google::protobuf::io::CodedOutputStream;
  uint8_t head[16];
  uint8_t* end = CodedOutputStream::WriteVarint32ToArray(
      WireFormatLite::MakeTag(inference::ModelStreamInferResponse::kInferResponseFieldNumber,
                              WireFormatLite::WIRETYPE_LENGTH_DELIMITED),
      head);
  end = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(bytes), end);
  return grpc::Slice(head, static_cast<size_t>(end - head));
}

}  // namespace

absl::StatusOr<EncodeRequestData> InferFormat::Read(grpc::ByteBuffer* bytes,
                                                    const EncoderInfo& info,
                                                    const RequestLimits& limits) {
  if (!outline_.status.ok()) {
    bytes->Clear();
    return outline_.status;
  }
  if (absl::Status status = ParseMessage(bytes, &request_); !status.ok()) return status;
  EncodeRequestData data;
  data.model = request_.model_name();
  data.model_version = request_.model_version();
  data.request_id = request_.id();
  // The inputs of another model are not judged by this one's: the validator says that it is
  // another.
  if (!IsFor(info)) return data;
  const auto final = request_.parameters().find(kAskFinal);
  says_final_ = final != request_.parameters().end() && final->second.bool_param();
  absl::Status status = ReadInferParameters(request_.parameters(), &data);
  if (status.ok()) status = ReadOutputs();
  if (status.ok()) {
    const TokenTensorRules rules = {.vocab_size = info.vocab_size,
                                    .max_sequences = limits.max_sequences};
    status = ReadTokenTensors(request_, rules, &ids_, &data);
  }
  if (!status.ok()) return status;
  for (const auto& input : request_.inputs()) {
    if (input.name() == kInputLengths || input.name() == kInputMask) lengths_input_ = input.name();
  }
  return data;
}

bool InferFormat::IsFor(const EncoderInfo& info) const {
  const bool named = request_.model_name().empty() || request_.model_name() == info.model;
  return named && (request_.model_version().empty() || request_.model_version() == info.version);
}

absl::Status InferFormat::ReadOutputs() {
  if (request_.outputs_size() == 0) wanted_ = {.embeddings = true, .rows = true, .scales = true};
  for (int i = 0; i < request_.outputs_size(); ++i) {
    const auto& output = request_.outputs(i);
    for (const auto& [key, value] : output.parameters()) {
      if (!absl::StartsWith(key, "shared_memory_") && key != "classification") continue;
      return FieldError(ErrorReason::kNotImplemented,
                        absl::StrCat("outputs[", i, "].parameters[", SafeText(key), "]"), {},
                        "this server writes no shared memory and classifies nothing");
    }
    if (output.name() == kOutputEmbeddings) {
      wanted_.embeddings = true;
    } else if (output.name() == kOutputRows) {
      wanted_.rows = true;
    } else if (output.name() == kOutputScales) {
      wanted_.scales = true;
    } else {
      return FieldError(
          ErrorReason::kInvalidField, absl::StrCat("outputs[", i, "].name"),
          Got(ShownText(output.name()),
              absl::StrCat(kOutputEmbeddings, ", ", kOutputRows, ", ", kOutputScales)),
          "the model has no such output");
    }
  }
  return absl::OkStatus();
}

void InferFormat::Release() {
  ModelInferRequest().Swap(&request_);  // Clear would keep the memory of the ids
  ids_ = std::string();
}

void InferFormat::AddOutputs(const UnaryReply& reply, ModelInferResponse* response) const {
  v1::EmbeddingBlock block;
  reply.rows.MoveTo(&block);
  const auto rows = static_cast<int64_t>(block.rows());
  if (wanted_.embeddings) {
    // Of bits, eight lie in one value.
    const int64_t width =
        block.dtype() == v1::DATA_TYPE_BINARY ? block.dim() / 8 : int64_t{block.dim()};
    AddOutput(kOutputEmbeddings, DatatypeOf(block.dtype()), {rows, width},
              std::move(*block.mutable_data()), response);
  }
  if (wanted_.rows) {
    std::vector<int32_t> counts;
    for (const SequenceSummary& sequence : reply.sequences) {
      counts.push_back(static_cast<int32_t>(sequence.rows));
    }
    AddOutput(kOutputRows, "INT32", {static_cast<int64_t>(counts.size()), 1},
              BytesOf(counts.data(), counts.size()), response);
  }
  if (wanted_.scales && block.scales_size() > 0) {
    AddOutput(kOutputScales, "FP32", {rows, 1}, BytesOf(block.scales().data(), block.scales_size()),
              response);
  }
}

grpc::ByteBuffer InferFormat::Write(const UnaryReply& reply,
                                    absl::FunctionRef<StageTimes()> stamp) {
  ModelInferResponse response;
  response.set_model_name(reply.info.model);
  response.set_model_version(reply.info.version);
  response.set_id(outline_.id);
  auto& parameters = *response.mutable_parameters();
  parameters["longwave_fingerprint"].set_string_param(reply.info.fingerprint);
  parameters["longwave_weights_digest"].set_string_param(reply.info.weights_digest);
  parameters["longwave_routes"].set_string_param(RouteNames(reply.sequences));
  if (AnyTruncated(reply.sequences)) parameters["longwave_truncated"].set_bool_param(true);
  if (says_final_) parameters[kFinal].set_bool_param(true);
  AddOutputs(reply, &response);
  const grpc::Slice body = SerializeMessage(response);
  const grpc::Slice times = SerializeMessage(TimesMessage(stamp()));
  std::vector<grpc::Slice> slices;
  if (method_ == RpcMethod::kModelStreamInfer)
    slices.push_back(FieldHead(body.size() + times.size()));
  slices.push_back(body);
  slices.push_back(times);
  return grpc::ByteBuffer(slices.data(), slices.size());
}

absl::Status InferFormat::Translate(const absl::Status& error) const {
  const std::string field = GetErrorDetails(error).field;
  constexpr absl::string_view kLengths = "tokens.lengths";
  if (absl::StartsWith(field, kLengths)) {
    const absl::string_view input =
        lengths_input_.empty() ? absl::string_view(kInputIds) : absl::string_view(lengths_input_);
    return WithField(error, InputField(input, field.substr(kLengths.size())));
  }
  for (const auto& [ours, theirs] : kFields) {
    if (!absl::StartsWith(field, ours)) continue;
    return WithField(error, absl::StrCat(theirs, field.substr(std::strlen(ours))));
  }
  return error;
}

}  // namespace longwave
