#include "server/rpc/inference/infer_format.h"

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
constexpr std::array<std::pair<const char*, const char*>, 14> kFields = {{
    {"tokens.lengths", "inputs[lengths]"},
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

// Times as a message of their own, which parsers merge with what came before (encode_format.cc),
// inside of a message of a stream too.
ModelInferResponse TimesMessage(const StageTimes& stages) {
  ModelInferResponse times;
  auto& parameters = *times.mutable_parameters();
  parameters["longwave_queue_ms"].set_double_param(ToSeconds(stages.queue) * 1e3);
  parameters["longwave_compute_ms"].set_double_param(ToSeconds(stages.compute) * 1e3);
  parameters["longwave_total_ms"].set_double_param(ToSeconds(stages.total) * 1e3);
  return times;
}

}  // namespace

absl::StatusOr<EncodeRequestData> InferFormat::Read(grpc::ByteBuffer* bytes,
                                                    const EncoderInfo& info) {
  if (absl::Status status = ParseMessage(bytes, &request_); !status.ok()) return status;
  id_ = request_.id();
  model_name_ = request_.model_name();
  const auto final = request_.parameters().find(kAskFinal);
  says_final_ = final != request_.parameters().end() && final->second.bool_param();
  EncodeRequestData data;
  data.model = request_.model_name();
  data.model_version = request_.model_version();
  data.request_id = request_.id();
  absl::Status status = ReadInferParameters(request_.parameters(), &data);
  if (status.ok()) status = ReadOutputs();
  if (status.ok()) status = ReadTokenTensors(request_, info.vocab_size, &ids_, &data);
  if (!status.ok()) return status;
  return data;
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
  response.set_id(id_);
  auto& parameters = *response.mutable_parameters();
  parameters["longwave_fingerprint"].set_string_param(reply.info.fingerprint);
  parameters["longwave_weights_digest"].set_string_param(reply.info.weights_digest);
  parameters["longwave_routes"].set_string_param(RouteNames(reply.sequences));
  if (AnyTruncated(reply.sequences)) parameters["longwave_truncated"].set_bool_param(true);
  if (says_final_) parameters[kFinal].set_bool_param(true);
  AddOutputs(reply, &response);
  const bool streamed = method_ == RpcMethod::kModelStreamInfer;
  std::vector<grpc::Slice> slices;
  const auto write = [&](ModelInferResponse&& part) {
    if (!streamed) {
      slices.push_back(SerializeMessage(part));
      return;
    }
    inference::ModelStreamInferResponse message;
    *message.mutable_infer_response() = std::move(part);
    slices.push_back(SerializeMessage(message));
  };
  write(std::move(response));
  write(TimesMessage(stamp()));
  return grpc::ByteBuffer(slices.data(), slices.size());
}

absl::Status InferFormat::Translate(const absl::Status& error) const {
  const std::string field = GetErrorDetails(error).field;
  for (const auto& [ours, theirs] : kFields) {
    if (!absl::StartsWith(field, ours)) continue;
    return WithField(error, absl::StrCat(theirs, field.substr(std::strlen(ours))));
  }
  return error;
}

}  // namespace longwave
