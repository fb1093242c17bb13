#include "model/encoder/transformer_encoder.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <thread>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/base/error.h"
#include "model/base/mutex.h"
#include "model/encoder/compute_type.h"
#include "model/encoder/device.h"
#include "model/encoder/disposer.h"
#include "model/encoder/fingerprint.h"
#include "model/encoder/layered_job.h"
#include "model/encoder/sequence_cost_model.h"
#include "model/encoder/transformer.h"
#include "model/encoder/warm_up.h"

namespace longwave {
namespace {

constexpr int kMaxThreads = 1024;

// The values of the environment variables that LibTorch, oneDNN and MKL read, per target.
struct CpuTarget {
  absl::string_view name;
  const char* aten;
  const char* onednn;
  const char* mkl;
};
constexpr CpuTarget kCpuTargets[] = {{"avx2", "avx2", "AVX2", "AVX2"},
                                     {"avx512", "avx512", "AVX512_CORE", "AVX512"}};

const CpuTarget* FindCpuTarget(absl::string_view name) {
  for (const CpuTarget& target : kCpuTargets) {
    if (target.name == name) return &target;
  }
  return nullptr;
}

absl::Status CheckCpuTarget(absl::string_view name) {
  if (name == "auto" || FindCpuTarget(name) != nullptr) return absl::OkStatus();
  return MakeError(
      ErrorDetails{
          .reason = ErrorReason::kInvalidField, .field = "cpu_target", .value = std::string(name)},
      "accepted: auto, avx2, avx512");
}

// LibTorch reads its target once. If it uses another one, the environment was set too late, or the
// CPU does not have the instructions.
absl::Status CheckTargetInUse(absl::string_view name) {
  const CpuTarget* const target = FindCpuTarget(name);
  const std::string in_use = absl::AsciiStrToLower(at::get_cpu_capability());
  if (target == nullptr || in_use == target->aten) return absl::OkStatus();
  return MakeError(
      ErrorDetails{
          .reason = ErrorReason::kInvalidField, .field = "cpu_target", .value = std::string(name)},
      absl::StrCat("this process computes with ", in_use));
}

// Runs `body` and turns what it throws into a status: the one place where exceptions end. `health`
// keeps an error after which the device answers no more.
class ExceptionBarrier {
 public:
  explicit ExceptionBarrier(c10::Device device) : device_(device) {}

  absl::Status Run(absl::FunctionRef<absl::Status()> body) {
    try {
      return body();
    } catch (const std::bad_alloc&) {
      return MakeError(ErrorReason::kOutOfMemory, "out of memory");
    } catch (const c10::OutOfMemoryError&) {
      return MakeError(ErrorReason::kOutOfMemory, "the device is out of memory");
    } catch (const c10::Error& error) {
      // The CPU's allocator has no type of its own.
      if (absl::StrContains(error.what_without_backtrace(), "DefaultCPUAllocator")) {
        return MakeError(ErrorReason::kOutOfMemory, "out of memory");
      }
      return Broken(error.what_without_backtrace());
    } catch (const std::exception& error) {
      return Broken(error.what());
    }
  }

  absl::Status health() const {
    MutexLock lock(&mutex_);
    return health_;
  }

 private:
  // On CUDA an error of a kernel is found by a later call and spoils the whole context.
  absl::Status Broken(absl::string_view what) {
    if (!device_.is_cuda()) return MakeError(ErrorReason::kInternal, what);
    MutexLock lock(&mutex_);
    if (health_.ok()) health_ = MakeError(ErrorReason::kDeviceLost, what);
    return health_;
  }

  const c10::Device device_;
  mutable Mutex mutex_;
  absl::Status health_ ABSL_GUARDED_BY(mutex_);
};

class GuardedJob final : public EncodeJob {
 public:
  GuardedJob(std::unique_ptr<LayeredJob> job, ExceptionBarrier* barrier)
      : job_(std::move(job)), barrier_(*barrier) {}

  absl::StatusOr<State> Step() override {
    State state = State::kDone;
    const absl::Status status = barrier_.Run([&] {
      state = job_->Step();
      return absl::OkStatus();
    });
    if (!status.ok()) return status;
    return state;
  }
  void Drop(int sequence) override { job_->Drop(sequence); }
  int64_t ResidentBytes() const override { return job_->ResidentBytes(); }
  double Progress() const override { return job_->Progress(); }

 private:
  const std::unique_ptr<LayeredJob> job_;
  ExceptionBarrier& barrier_;
};

// The largest bound of all layers at any length.
double LargestErrorBound(const Transformer& transformer, Route route) {
  double bound = 0;
  for (int64_t n = 1; n < 2 * transformer.config().max_tokens; n *= 2) {
    for (int layer = 0; layer < transformer.layers(); ++layer) {
      const int64_t tokens = std::min(n, transformer.config().max_tokens);
      bound = std::max(bound, transformer.attention(layer).ErrorBound(tokens, route));
    }
  }
  return bound;
}

// Whether every layer has the route at every length below those that are too long for it.
bool IsServed(const Transformer& transformer, Route route) {
  for (int layer = 0; layer < transformer.layers(); ++layer) {
    const Attention& attention = transformer.attention(layer);
    if (!attention.Check(1, route).ok()) return false;
    if (route == Route::kInterpolation &&
        !attention.Check(transformer.config().max_tokens, route).ok()) {
      return false;
    }
  }
  return true;
}

// Routes that are exact or certified for every layer, those that AUTO takes first, in the order of
// the lengths at which it takes them.
std::vector<Route> ServedRoutes(const Transformer& transformer) {
  std::vector<Route> candidates;
  for (int64_t n = 1; n < 2 * transformer.config().max_tokens; n *= 2) {
    for (int layer = 0; layer < transformer.layers(); ++layer) {
      candidates.push_back(
          transformer.attention(layer).Plan(std::min(n, transformer.config().max_tokens)));
    }
  }
  candidates.insert(candidates.end(), {Route::kChunkwise, Route::kInterpolation, Route::kFft,
                                       Route::kTiles, Route::kDirect});
  std::vector<Route> routes;
  for (const Route route : candidates) {
    if (std::find(routes.begin(), routes.end(), route) != routes.end()) continue;
    if (IsServed(transformer, route)) routes.push_back(route);
  }
  return routes;
}

EncoderInfo MakeInfo(const ModelFolder& folder, const Transformer& transformer,
                     const SelectedDevice& device, ComputeType compute) {
  EncoderInfo info;
  info.model = folder.serving.name;
  info.version = folder.serving.version;
  info.dim = folder.config.hidden_size;
  info.layers = folder.config.num_layers;
  info.vocab_size = folder.config.vocab_size;
  info.max_tokens = folder.config.max_tokens;
  info.default_pooling = folder.serving.default_pooling;
  info.default_normalize = folder.serving.default_normalize;
  info.truncate_dims = folder.config.matryoshka_dims;
  info.tokenizer_kind = folder.serving.tokenizer_kind;
  info.tokenizer_fingerprint = folder.serving.tokenizer_fingerprint;
  info.weights_digest = folder.weights_digest;
  info.device = device.name;
  info.compute_dtype = std::string(ComputeTypeName(compute));
  info.fingerprint = Fingerprint(folder.weights_digest, transformer, device, info.compute_dtype);
  // Not until tests/gpu has shown it on a card.
  info.deterministic = device.device.is_cpu();
  info.routes = ServedRoutes(transformer);
  // AUTO may take it for some heads where others have no certificate.
  double bound = LargestErrorBound(transformer, Route::kAuto);
  if (std::find(info.routes.begin(), info.routes.end(), Route::kInterpolation) !=
      info.routes.end()) {
    bound = std::max(bound, LargestErrorBound(transformer, Route::kInterpolation));
  }
  if (bound > 0) info.certificates.push_back({Route::kInterpolation, bound});
  return info;
}

int ThreadsFor(const TransformerEncoderOptions& options) {
  if (options.threads > 0) return options.threads;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

absl::Status TransformerEncoderOptions::Validate() const {
  std::vector<std::string> problems;
  if (threads < 0 || threads > kMaxThreads) {
    problems.push_back(
        absl::StrCat("--threads=", threads, ": accepted 0 (one per core) to ", kMaxThreads));
  }
  if (absl::Status status = CheckCpuTarget(cpu_target); !status.ok()) {
    problems.push_back(absl::StrCat("--cpu_target=", cpu_target, ": ", status.message()));
  }
  const absl::StatusOr<ComputeType> compute = ParseComputeType(compute_dtype);
  if (!compute.ok()) {
    problems.push_back(
        absl::StrCat("--compute_dtype=", compute_dtype, ": ", compute.status().message()));
  } else if (absl::Status status = CheckComputeType(*compute, device); !status.ok()) {
    problems.push_back(absl::StrCat("--compute_dtype=", compute_dtype, ": ", status.message()));
  }
  if (problems.empty()) return absl::OkStatus();
  return MakeError(ErrorReason::kInvalidField, absl::StrJoin(problems, "\n"));
}

absl::Status PrepareProcessForCompute(absl::string_view cpu_target) {
  if (absl::Status status = CheckCpuTarget(cpu_target); !status.ok()) return status;
  setenv("OMP_NUM_THREADS", "1", /*overwrite=*/1);
  setenv("MKL_NUM_THREADS", "1", 1);
  const CpuTarget* const target = FindCpuTarget(cpu_target);
  const auto set = [target](const char* name, const char* CpuTarget::* value) {
    if (target == nullptr) {
      unsetenv(name);
    } else {
      setenv(name, target->*value, 1);
    }
  };
  set("ATEN_CPU_CAPABILITY", &CpuTarget::aten);
  set("ONEDNN_MAX_CPU_ISA", &CpuTarget::onednn);
  set("MKL_ENABLE_INSTRUCTIONS", &CpuTarget::mkl);
  return absl::OkStatus();
}

void PrepareComputeThread() {
  at::set_num_threads(1);
  // For as long as the thread lives.
  thread_local const c10::InferenceMode inference;
}

struct TransformerEncoder::State {
  State(const ModelFolder& folder, SelectedDevice selected, ComputeType compute,
        std::unique_ptr<const Transformer> model, std::shared_ptr<ComputePool> compute_pool)
      : device(std::move(selected)),
        transformer(std::move(model)),
        pool(std::move(compute_pool)),
        cost(transformer.get(), pool == nullptr ? 1 : pool->threads()),
        info(MakeInfo(folder, *transformer, device, compute)),
        barrier(device.device) {}

  SelectedDevice device;
  std::unique_ptr<const Transformer> transformer;
  std::shared_ptr<ComputePool> pool;
  SequenceCostModel cost;
  EncoderInfo info;
  ExceptionBarrier barrier;
  Disposer disposer;
};

TransformerEncoder::TransformerEncoder(std::unique_ptr<State> state) : state_(std::move(state)) {}
TransformerEncoder::~TransformerEncoder() = default;

absl::StatusOr<std::unique_ptr<TransformerEncoder>> TransformerEncoder::Create(
    const ModelFolder& folder, const TransformerEncoderOptions& options) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  if (absl::Status status = CheckTargetInUse(options.cpu_target); !status.ok()) return status;
  absl::StatusOr<SelectedDevice> device = SelectDevice(options.device);
  if (!device.ok()) return device.status();
  const absl::StatusOr<ComputeType> compute = ParseComputeType(options.compute_dtype);
  if (!compute.ok()) return compute.status();
  // "auto" may have become the CPU.
  if (absl::Status status = CheckComputeType(*compute, device->name); !status.ok()) return status;
  std::unique_ptr<State> state;
  ExceptionBarrier barrier(device->device);
  const absl::Status status = barrier.Run([&]() -> absl::Status {
    DeviceStream stream(device->device);
    const SliceScope scope(stream);
    auto transformer = Transformer::Create(folder, device->device, device->name, *compute);
    if (!transformer.ok()) return transformer.status();
    stream.Synchronize();  // jobs have streams of their own
    std::shared_ptr<ComputePool> pool;
    if (device->device.is_cpu()) {
      pool = options.pool;
      if (pool == nullptr) {
        pool = std::make_shared<ComputePool>(ThreadsFor(options), PrepareComputeThread);
      }
    }
    state = std::make_unique<State>(folder, *std::move(device), *compute, *std::move(transformer),
                                    std::move(pool));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return std::unique_ptr<TransformerEncoder>(new TransformerEncoder(std::move(state)));
}

absl::Status TransformerEncoder::WarmUp(const Clock& clock) {
  return state_->barrier.Run([&]() -> absl::Status {
    const absl::StatusOr<WarmUpResult> result =
        RunWarmUp(*this, *state_->transformer, state_->pool.get(), state_->cost, clock);
    if (!result.ok()) return result.status();
    state_->cost.SetRates(result->rates);
    // A piece that is the longer the longer the sequence may be more than a slice's share.
    const int64_t longest = state_->info.max_tokens;
    const double piece = state_->cost.LargestPieceSeconds(longest, Route::kAuto);
    state_->info.max_slice_seconds = std::max(result->max_slice_seconds, piece);
    return absl::OkStatus();
  });
}

const EncoderInfo& TransformerEncoder::Info() const { return state_->info; }

absl::Status TransformerEncoder::Health() const { return state_->barrier.health(); }

FftGuardCounts TransformerEncoder::FftGuard() const {
  FftGuardCounts total;
  for (int layer = 0; layer < state_->transformer->layers(); ++layer) {
    const AttentionCounters counters = state_->transformer->attention(layer).Counters();
    total.fp32_heads += counters.fft_fp32;
    total.fp64_heads += counters.fft_fp64;
    total.tiles_heads += counters.fft_tiles;
    total.recomputed_rows += counters.fft_rows_recomputed;
  }
  return total;
}

CostPrediction TransformerEncoder::Predict(int64_t tokens, const OutputSpec& output,
                                           Route route) const {
  return state_->cost.Predict(tokens, output, route);
}

absl::Status TransformerEncoder::CheckRoute(int64_t tokens, Route route) const {
  for (int layer = 0; layer < state_->transformer->layers(); ++layer) {
    const Attention& attention = state_->transformer->attention(layer);
    if (absl::Status status = attention.Check(tokens, route); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<EncodeJob>> TransformerEncoder::Begin(
    EncoderBatch batch, std::vector<OutputSpec> outputs, RowSink* sink) {
  if (absl::Status status = Health(); !status.ok()) return status;
  if (absl::Status status = CheckBatch(Info(), batch, outputs); !status.ok()) return status;
  std::vector<LayerRoutes> routes(batch.sequences());
  for (int s = 0; s < batch.sequences(); ++s) {
    const Route route = batch.routes.empty() ? Route::kAuto : batch.routes[s];
    if (absl::Status status = CheckRoute(batch.length(s), route); !status.ok()) return status;
    routes[s].assign(state_->transformer->layers(), route);
  }
  std::unique_ptr<LayeredJob> job;
  const absl::Status status = state_->barrier.Run([&] {
    const JobContext context = {.transformer = state_->transformer.get(),
                                .pool = state_->pool.get(),
                                .disposer = &state_->disposer};
    job = std::make_unique<LayeredJob>(context, std::move(batch), std::move(outputs),
                                       std::move(routes), sink);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return std::make_unique<GuardedJob>(std::move(job), &state_->barrier);
}

const std::string& TransformerEncoder::fallback_reason() const {
  return state_->device.fallback_reason;
}

ComputePool* TransformerEncoder::compute_pool() const { return state_->pool.get(); }
const std::shared_ptr<ComputePool>& TransformerEncoder::shared_compute_pool() const {
  return state_->pool;
}

}  // namespace longwave
