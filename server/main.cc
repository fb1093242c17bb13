// longwave-server: the one program that names both sides, the service and the model.
#include <sys/resource.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "model/base/clock.h"
#include "model/base/compute_pool.h"
#include "model/base/error.h"
#include "model/encoder/goldens.h"
#include "model/encoder/transformer_encoder.h"
#include "model/weights/file.h"
#include "model/weights/model_config.h"
#include "model/weights/model_folder.h"
#include "server/server_program.h"

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

absl::StatusOr<ModelFolder> Read(const std::string& path) {
  try {
    return LoadModelFolder(path);
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorReason::kOutOfMemory, "no memory for the model's weights");
  }
}

// The niceness of reading beside a service: a tenth of a processor that is wanted, all of one that
// is not.
constexpr int kReadingNiceness = 10;

// On a thread of its own, since niceness can be given up but not taken back.
absl::StatusOr<ModelFolder> ReadQuietly(const std::string& path) {
  absl::StatusOr<ModelFolder> folder = absl::UnknownError("not read");
  try {
    std::thread([&] {
      setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kReadingNiceness);
      folder = Read(path);
    }).join();
  } catch (const std::system_error&) {  // the system gives no thread
    return Read(path);
  }
  return folder;
}

// Loads one version after another; all of them compute on the threads of the first. One load at a
// time.
class ModelLoader {
 public:
  absl::StatusOr<std::unique_ptr<Encoder>> Load(const ModelOptions& options,
                                                const std::string& version, ServiceMetrics* metrics,
                                                Logger* log) {
    PhaseTimer timer(metrics);
    absl::StatusOr<ModelFolder> folder = first_ ? Read(options.path) : ReadQuietly(options.path);
    first_ = false;
    if (!folder.ok()) return folder.status();
    if (!version.empty()) folder->serving.version = version;
    timer.End("read");
    TransformerEncoderOptions encoder_options = ToEncoderOptions(options);
    encoder_options.pool = pool_;
    absl::StatusOr<std::unique_ptr<TransformerEncoder>> encoder =
        TransformerEncoder::Create(*folder, encoder_options);
    if (!encoder.ok()) return encoder.status();
    pool_ = (*encoder)->shared_compute_pool();
    folder->weights.clear();  // the encoder has its own
    timer.End("convert");
    if (const std::string& reason = (*encoder)->fallback_reason(); !reason.empty()) {
      log->Warning("cpu_fallback", {{"message", reason}});
      metrics->CpuFallback(FallbackLabel(reason));
    }
    if (absl::Status status = VerifyGoldens(**encoder, folder->serving); !status.ok()) {
      return status;
    }
    timer.End("goldens");
    if (absl::Status status = (*encoder)->WarmUp(); !status.ok()) return status;
    timer.End("warmup");
    return std::unique_ptr<Encoder>(*std::move(encoder));
  }

 private:
  bool first_ = true;
  std::shared_ptr<ComputePool> pool_;  // null before the first, and on CUDA
};

}  // namespace
}  // namespace longwave

int main(int argc, char** argv) {
  longwave::ModelLoader loader;
  return longwave::RunServerProgram(
      argc, argv,
      {.configure = longwave::Configure,
       .load = std::bind_front(&longwave::ModelLoader::Load, &loader),
       .build_info = {{"version", LONGWAVE_VERSION}, {"device", LONGWAVE_BUILD_DEVICE}}});
}
