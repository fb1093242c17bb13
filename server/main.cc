// longwave-server: the one program that names both sides, the service and the model.
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "model/base/clock.h"
#include "model/encoder/goldens.h"
#include "model/encoder/transformer_encoder.h"
#include "model/weights/file.h"
#include "model/weights/model_config.h"
#include "model/weights/model_folder.h"
#include "server/serve.h"

namespace longwave {
namespace {

constexpr int64_t kMaxConfigBytes = 1 << 20;

TransformerEncoderOptions ToEncoderOptions(const ModelOptions& options) {
  return {.device = options.device,
          .threads = options.threads,
          .cpu_target = options.cpu_target,
          .compute_dtype = options.compute_dtype};
}

absl::StatusOr<int64_t> Configure(const ModelOptions& options) {
  if (absl::Status status = ToEncoderOptions(options).Validate(); !status.ok()) return status;
  if (absl::Status status = PrepareProcessForCompute(options.cpu_target); !status.ok()) {
    return status;
  }
  const absl::StatusOr<std::string> json =
      ReadFile(absl::StrCat(options.path, "/config.json"), kMaxConfigBytes);
  if (!json.ok()) {
    return absl::Status(json.status().code(),
                        absl::StrCat("--model ", options.path, ": ", json.status().message()));
  }
  const absl::StatusOr<ModelConfig> config = ParseModelConfig(*json);
  if (!config.ok()) return config.status();
  return config->max_tokens;
}

// The label of a reason for falling back to the CPU.
absl::string_view FallbackLabel(absl::string_view reason) {
  if (absl::StrContains(reason, "driver")) return "no_driver";
  if (absl::StrContains(reason, "no CUDA")) return "no_device";
  return "init_failed";
}

// Records how long each phase of loading took.
class PhaseTimer {
 public:
  explicit PhaseTimer(ServiceMetrics* metrics) : metrics_(metrics), start_(clock_.Now()) {}

  void End(absl::string_view phase) {
    const Instant now = clock_.Now();
    metrics_->ModelLoad(phase, ToSeconds(now - start_));
    start_ = now;
  }

 private:
  const SteadyClock clock_;
  ServiceMetrics* const metrics_;
  Instant start_;
};

absl::StatusOr<std::unique_ptr<Encoder>> Load(const ModelOptions& options, ServiceMetrics* metrics,
                                              Logger* log) {
  PhaseTimer timer(metrics);
  const absl::StatusOr<ModelFolder> folder = LoadModelFolder(options.path);
  if (!folder.ok()) return folder.status();
  timer.End("read");
  absl::StatusOr<std::unique_ptr<TransformerEncoder>> encoder =
      TransformerEncoder::Create(*folder, ToEncoderOptions(options));
  if (!encoder.ok()) return encoder.status();
  timer.End("convert");
  if (const std::string& reason = (*encoder)->fallback_reason(); !reason.empty()) {
    log->Warning("cpu_fallback", {{"message", reason}});
    metrics->CpuFallback(FallbackLabel(reason));
  }
  if (absl::Status status = VerifyGoldens(**encoder, folder->serving); !status.ok()) return status;
  timer.End("goldens");
  if (absl::Status status = (*encoder)->WarmUp(); !status.ok()) return status;
  timer.End("warmup");
  return std::unique_ptr<Encoder>(*std::move(encoder));
}

}  // namespace
}  // namespace longwave

int main(int argc, char** argv) {
  return longwave::RunServerProgram(
      argc, argv,
      {.configure = longwave::Configure,
       .load = longwave::Load,
       .build_info = {{"version", LONGWAVE_VERSION}, {"device", LONGWAVE_BUILD_DEVICE}}});
}
