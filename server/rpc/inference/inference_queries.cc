#include "server/rpc/inference/inference_queries.h"

#include <array>
#include <chrono>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/base/error.h"
#include "server/admission/field_error.h"
#include "server/rpc/inference/infer_format.h"
#include "server/rpc/inference/token_tensors.h"

namespace longwave {
namespace {

using TensorMetadata = inference::ModelMetadataResponse::TensorMetadata;

constexpr char kPlatform[] = "longwave";
constexpr int64_t kAnySize = -1;

// One tensor, as the metadata and the configuration have it. `row`: its shape without the batch.
struct Tensor {
  const char* name;
  const char* datatype;
  inference::DataType config_type;
  int64_t row;
};

// The input that every request has. The others are told of in the properties: load generators fill
// whatever is listed here with values of their own, and a mask or lengths of zeros is no request.
constexpr Tensor kModelInput = {kInputIds, "INT32", inference::TYPE_INT32, kAnySize};
constexpr char kOptionalInputs[] =
    "lengths INT32 [-1,1]; attention_mask INT32 [-1,-1]; spans INT32 [-1,3]";

std::array<Tensor, 2> ModelOutputs(const EncoderInfo& info) {
  return {{{kOutputEmbeddings, "FP32", inference::TYPE_FP32, info.dim},
           {kOutputRows, "INT32", inference::TYPE_INT32, 1}}};
}

void Describe(const Tensor& tensor, TensorMetadata* metadata) {
  metadata->set_name(tensor.name);
  metadata->set_datatype(tensor.datatype);
  metadata->add_shape(kAnySize);  // the batch
  metadata->add_shape(tensor.row);
}

absl::Status CheckName(const std::string& name, const std::string& version,
                       const EncoderInfo& info) {
  if (!name.empty() && name != info.model) {
    return FieldError(ErrorReason::kUnknownModel, "name",
                      Got(ShownText(name), ShownText(info.model)),
                      "this server does not have the model");
  }
  if (!version.empty() && version != info.version) {
    return FieldError(ErrorReason::kUnknownModel, "version",
                      Got(ShownText(version), ShownText(info.version)),
                      "this server does not have the version");
  }
  return absl::OkStatus();
}

uint64_t ToNanoseconds(double seconds) {
  return static_cast<uint64_t>(std::llround(seconds * 1e9));
}

void Fill(const TotalTime& total, inference::StatisticDuration* duration) {
  duration->set_count(total.count);
  duration->set_ns(ToNanoseconds(total.seconds));
}

// Milliseconds since 1970; the protocol wants a date, and the process keeps none but this.
uint64_t DateOf(Instant when, Instant now) {
  if (when == Instant{}) return 0;
  const auto date = std::chrono::system_clock::now().time_since_epoch() - (now - when);
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(date).count());
}

void AddModel(const std::string& name, const std::string& version, const char* state,
              const char* reason, inference::RepositoryIndexResponse* response) {
  auto* model = response->add_models();
  model->set_name(name);
  model->set_version(version);
  model->set_state(state);
  model->set_reason(reason);
}

}  // namespace

inference::ModelReadyResponse DescribeReadiness(const inference::ModelReadyRequest& request,
                                                const ServiceCore& core) {
  inference::ModelReadyResponse response;
  const std::optional<Backend> backend = core.Ready();
  response.set_ready(backend.has_value() &&
                     CheckName(request.name(), request.version(), backend->encoder().Info()).ok());
  return response;
}

inference::ServerMetadataResponse DescribeServer(const ServiceCore& core) {
  inference::ServerMetadataResponse response;
  response.set_name(kPlatform);
  response.set_version(LONGWAVE_VERSION);
  response.add_extensions("model_configuration");
  response.add_extensions("model_repository");
  response.add_extensions("parameters");
  if (core.metrics() != nullptr && core.metrics()->Totals().has_value()) {
    response.add_extensions("statistics");
  }
  return response;
}

absl::StatusOr<inference::ModelMetadataResponse> DescribeModel(
    const inference::ModelMetadataRequest& request, const EncoderInfo& info) {
  absl::Status known = CheckName(request.name(), request.version(), info);
  if (!known.ok()) return known;
  inference::ModelMetadataResponse response;
  response.set_name(info.model);
  response.add_versions(info.version);
  response.set_platform(kPlatform);
  Describe(kModelInput, response.add_inputs());
  for (const Tensor& output : ModelOutputs(info)) Describe(output, response.add_outputs());
  auto& properties = *response.mutable_properties();
  properties["optional_inputs"] = kOptionalInputs;
  properties["dim"] = absl::StrCat(info.dim);
  properties["max_tokens"] = absl::StrCat(info.max_tokens);
  properties["vocab_size"] = absl::StrCat(info.vocab_size);
  properties["tokenizer_kind"] = info.tokenizer_kind;
  properties["tokenizer_fingerprint"] = info.tokenizer_fingerprint;
  properties["truncate_dims"] = absl::StrJoin(info.truncate_dims, ",");
  properties["weights_digest"] = info.weights_digest;
  properties["fingerprint"] = info.fingerprint;
  properties["device"] = info.device;
  return response;
}

absl::StatusOr<inference::ModelConfigResponse> DescribeConfig(
    const inference::ModelConfigRequest& request, const EncoderInfo& info,
    const RequestLimits& limits) {
  absl::Status known = CheckName(request.name(), request.version(), info);
  if (!known.ok()) return known;
  inference::ModelConfigResponse response;
  inference::ModelConfig& config = *response.mutable_config();
  config.set_name(info.model);
  config.set_platform(kPlatform);
  config.set_backend(kPlatform);
  config.set_max_batch_size(static_cast<int32_t>(limits.max_sequences));
  auto* input = config.add_input();
  input->set_name(kModelInput.name);
  input->set_data_type(kModelInput.config_type);
  input->add_dims(kModelInput.row);
  for (const Tensor& tensor : ModelOutputs(info)) {
    auto* output = config.add_output();
    output->set_name(tensor.name);
    output->set_data_type(tensor.config_type);
    output->add_dims(tensor.row);
  }
  config.mutable_dynamic_batching();
  config.mutable_model_transaction_policy()->set_decoupled(false);
  return response;
}

absl::StatusOr<inference::ModelStatisticsResponse> DescribeStatistics(
    const inference::ModelStatisticsRequest& request, const EncoderInfo& info,
    const ServiceCore& core) {
  absl::Status known = CheckName(request.name(), request.version(), info);
  if (!known.ok()) return known;
  const std::optional<InferenceTotals> totals =
      core.metrics() == nullptr ? std::nullopt : core.metrics()->Totals();
  if (!totals.has_value()) {
    return MakeError(ErrorReason::kNotImplemented, "this server counts nothing");
  }
  inference::ModelStatisticsResponse response;
  inference::ModelStatistics& model = *response.add_model_stats();
  model.set_name(info.model);
  model.set_version(info.version);
  model.set_last_inference(DateOf(totals->last_success, SteadyClock().Now()));
  model.set_inference_count(totals->sequences);
  model.set_execution_count(totals->batches);
  inference::InferStatistics& times = *model.mutable_inference_stats();
  Fill(totals->success, times.mutable_success());
  Fill(totals->failure, times.mutable_fail());
  Fill(totals->queue, times.mutable_queue());
  Fill(totals->input, times.mutable_compute_input());
  Fill(totals->compute, times.mutable_compute_infer());
  Fill(totals->output, times.mutable_compute_output());
  return response;
}

inference::RepositoryIndexResponse DescribeRepository(
    const inference::RepositoryIndexRequest& request, const Backend& backend,
    const ServiceCore& core) {
  inference::RepositoryIndexResponse response;
  const EncoderInfo& info = backend.encoder().Info();
  AddModel(info.model, info.version, "READY", "", &response);
  if (request.ready()) return response;
  for (const auto& draining : core.DrainingModels()) {
    if (draining == backend.model) continue;  // retired since this call began
    const EncoderInfo& old = draining->encoder->Info();
    AddModel(old.model, old.version, "UNLOADING", "its last requests are computed", &response);
  }
  for (const UnservedVersion& unserved : core.Unserved()) {
    AddModel(info.model, unserved.version, unserved.failed ? "UNAVAILABLE" : "LOADING",
             unserved.failed ? "it could not be served" : "", &response);
  }
  return response;
}

}  // namespace longwave
