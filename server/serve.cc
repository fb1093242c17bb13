#include "server/serve.h"

#include <unistd.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "model/base/clock.h"
#include "model/base/error.h"
#include "model/base/mutex.h"
#include "server/descriptor_limit.h"
#include "server/model_keeper.h"
#include "server/rpc/library_locks.h"
#include "server/rpc/library_log.h"
#include "server/rpc/rpc_server.h"
#include "server/scheduling/scheduler.h"
#include "server/security/security.h"
#include "server/serving_metrics.h"
#include "server/shutdown_signals.h"
#include "server/slice_watch.h"

namespace longwave {
namespace {

// How often a serving process looks whether its device still answers.
constexpr std::chrono::milliseconds kHealthInterval{250};

// How long the slice that is computed for nobody may take before the process leaves without it.
constexpr std::chrono::seconds kLastSlice{3};

// How often one looks in so many seconds; a limit of 0 stays 0.
int64_t Looks(double seconds) {
  const double looks = std::ceil(seconds / ToSeconds(kHealthInterval));
  return static_cast<int64_t>(looks);
}

// Everything is answered and told; what is left is to take the process apart. gRPC 1.51 waits for
// ever for threads that the system once refused it, so that has an end too.
constexpr unsigned kTakingApartSeconds = 10;
volatile std::sig_atomic_t exit_code_at_the_end = kExitFailed;

void BoundTheEnd(int exit_code) {
  exit_code_at_the_end = exit_code;
  std::signal(SIGALRM, [](int) { _exit(exit_code_at_the_end); });
  alarm(kTakingApartSeconds);
}

// One serving process. Members are destroyed in the reverse order: what others use goes last.
class ServerProcess {
 public:
  ServerProcess(const ServerOptions& options, int64_t longest_sequence, const EncoderSource& source)
      : options_(options),
        longest_sequence_(longest_sequence),
        source_(source),
        log_(LogOptions{.level = options.log_level}),
        signals_([this](int count) { OnSignal(count); }, [this] { OnHangup(); }) {}

  ~ServerProcess() {
    if (keeper_ != nullptr) keeper_->Stop();
    if (metrics_ != nullptr) metrics_->SetSampler(nullptr);
  }

  int Run() {
    if (absl::Status status = OpenPorts(); !status.ok()) return Fail(status);
    if (absl::Status status = StartServing(); !status.ok()) return Fail(status);
    const absl::Status health = AwaitEnd();
    const bool clean = Drain(health.ok()) && health.ok();
    LogStopped(clean);
    BoundTheEnd(clean ? kExitOk : kExitFailed);
    return clean ? kExitOk : kExitFailed;
  }

 private:
  int Fail(const absl::Status& status) {
    PrintError({status.message().data(), status.message().size()});
    return kExitFailed;
  }

  void LogStopped(bool clean) {
    log_.Log(clean ? LogLevel::kInfo : LogLevel::kError, "stopped", {{"clean", clean}});
  }

  // Ends the process without taking it apart.
  [[noreturn]] void Leave(bool clean) {
    LogStopped(clean);
    std::_Exit(clean ? kExitOk : kExitFailed);
  }

  // On the signal thread.
  void OnSignal(int count) {
    MutexLock lock(&mutex_);
    log_.Info("signal", {{"count", count}});
    if (drained_) return;
    if (!serving_) {
      // Nothing was accepted yet, and loading cannot be interrupted.
      Leave(/*clean=*/true);
    }
    stop_ = true;
    changed_.NotifyAll();
    if (count > 1) rpc_->Hurry();
  }

  void RaiseLimits() {
    const DescriptorLimit limit = RaiseDescriptorLimit();
    if (limit.sensible()) return;
    log_.Warning("few_descriptors", {{"limit", limit.now}, {"sensible", kSensibleDescriptors}});
  }

  // What an operator may not have meant, though it is allowed.
  void WarnOfOpenDoors() {
    if (IsLoopback(options_.port.address)) return;
    if (!options_.security.tls()) log_.Warning("plaintext", {{"address", options_.port.address}});
    if (options_.security.tenants.empty() && options_.security.tls_client_ca.empty()) {
      log_.Warning("anyone_may_call", {{"address", options_.port.address}});
    }
  }

  // On the signal thread.
  void OnHangup() {
    log_.Info("hangup");
    MutexLock lock(&mutex_);
    if (keeper_ != nullptr) keeper_->Look();
  }

  absl::Status OpenPorts() {
    RaiseLimits();
    WarnOfOpenDoors();
    auto security = Security::Create(options_.security, &log_);
    if (!security.ok()) return security.status();
    security_ = *std::move(security);
    auto metrics = ServiceMetrics::Create(options_.metrics);
    if (!metrics.ok()) return metrics.status();
    metrics_ = *std::move(metrics);
    if (source_.wrap_metrics) metrics_ = source_.wrap_metrics(std::move(metrics_));
    metrics_->SetSampler([this] { return Sample(); });
    const PortAccess access = {.tls = security_->tls(),
                               .authenticator = security_->authenticator()};
    auto rpc = RpcServer::Create(options_.port, options_.calls, longest_sequence_, &clock_,
                                 metrics_.get(), &log_, access);
    if (!rpc.ok()) return rpc.status();
    {
      MutexLock lock(&mutex_);  // a scrape may be under way
      rpc_ = *std::move(rpc);
    }
    security_->Watch();
    log_.Info("listening", {{"address", options_.port.address},
                            {"port", rpc_->port()},
                            {"metrics_port", metrics_->port()},
                            {"tls", access.tls != nullptr},
                            {"keys", access.authenticator != nullptr}});
    return WritePortFile();
  }

  absl::Status WritePortFile() const {
    if (options_.port_file.empty()) return absl::OkStatus();
    // Renamed into place: whoever sees the file sees the whole number.
    const std::string temporary = absl::StrCat(options_.port_file, ".new");
    std::ofstream file(temporary);
    file << rpc_->port() << "\n";
    file.close();  // a full disk shows here at the latest
    if (!file.fail() && std::rename(temporary.c_str(), options_.port_file.c_str()) == 0) {
      return absl::OkStatus();
    }
    std::remove(temporary.c_str());
    return absl::UnavailableError(absl::StrCat("--port_file: cannot write ", options_.port_file));
  }

  absl::Status StartServing() {
    const Instant start = clock_.Now();
    {
      MutexLock lock(&mutex_);
      keeper_ = std::make_unique<ModelKeeper>(options_.model, longest_sequence_, &source_, &clock_,
                                              metrics_.get(), &log_);
    }
    if (absl::Status status = keeper_->LoadFirst(); !status.ok()) return status;
    const std::shared_ptr<ServedModel> model = keeper_->current();
    observer_.emplace(metrics_.get(), &slice_watch_, options_.scheduler);
    auto scheduler = Scheduler::Create(options_.scheduler, &clock_, &*observer_);
    if (!scheduler.ok()) return scheduler.status();
    PublishInfo(model->encoder->Info(), source_.build_info, *metrics_);
    {
      MutexLock lock(&mutex_);
      scheduler_ = *std::move(scheduler);
      serving_ = true;
      rpc_->Serve({.model = model, .scheduler = scheduler_.get()});
    }
    keeper_->Watch(
        [this](std::shared_ptr<ServedModel> next) { return SwitchTo(std::move(next)); },
        [this](std::vector<UnservedVersion> versions) { rpc_->SetUnserved(std::move(versions)); });
    const EncoderInfo& info = model->encoder->Info();
    log_.Info("serving", {{"model", info.model},
                          {"version", info.version},
                          {"device", info.device},
                          {"fingerprint", info.fingerprint},
                          {"start_seconds", ToSeconds(clock_.Now() - start)}});
    return absl::OkStatus();
  }

  // On the keeper's thread.
  bool SwitchTo(std::shared_ptr<ServedModel> model) {
    MutexLock lock(&mutex_);
    if (stop_ || !rpc_->Swap(model)) return false;
    PublishInfo(model->encoder->Info(), source_.build_info, *metrics_);
    return true;
  }

  GaugeSample Sample() {
    MutexLock lock(&mutex_);
    return SampleGauges({.log = log_,
                         .security = *security_,
                         .rpc = rpc_.get(),
                         .scheduler = scheduler_.get(),
                         .keeper = keeper_.get(),
                         .ready = serving_ && !stop_,
                         .draining = stop_});
  }

  // Until a signal (OK), or until the device is lost.
  absl::Status AwaitEnd() {
    while (true) {
      keeper_->FreeReleased();
      const absl::Status health = keeper_->current()->encoder->Health();
      MutexLock lock(&mutex_);
      if (stop_) return absl::OkStatus();
      if (!health.ok()) {
        log_.Error("device_lost", {{"message", health.message()}});
        stop_ = true;
        return health;
      }
      if (slice_watch_.Look()) {
        log_.Error("device_hangs", {{"limit_seconds", options_.hang_seconds}});
        stop_ = true;
        return MakeError(ErrorReason::kDeviceLost, "a slice does not end");
      }
      changed_.WaitUntil(&mutex_, clock_.Now() + kHealthInterval);
    }
  }

  // Whether every accepted request was answered as it would have been without the signal. Without
  // a device there is nothing to wait for.
  bool Drain(bool device_answers) {
    rpc_->SetNotReady();
    keeper_->Stop();
    const double delay = device_answers ? *options_.drain.delay_seconds : 0;
    const double grace = device_answers ? options_.drain.grace_seconds : 0;
    log_.Info("draining", {{"delay_seconds", delay}, {"grace_seconds", grace}});
    rpc_->Linger(clock_.Now() + FromSeconds(delay));
    const RpcServer::DrainOutcome outcome = rpc_->Drain(clock_.Now() + FromSeconds(grace), [this] {
      scheduler_->BeginDrain();
      scheduler_->AwaitIdle(clock_.Now());
    });
    if (outcome.stuck) Leave(outcome.clean);
    // What is left belongs to callers who have gone. It ends with the slice under way, unless that
    // hangs: then the executor cannot be joined.
    scheduler_->BeginDrain();
    if (!scheduler_->AwaitIdle(clock_.Now()) && !scheduler_->AwaitIdle(clock_.Now() + kLastSlice)) {
      log_.Error("executor_stuck");
      Leave(/*clean=*/false);
    }
    if (!keeper_->Stop()) Leave(outcome.clean);  // loading cannot be interrupted
    MutexLock lock(&mutex_);
    drained_ = true;
    return outcome.clean;
  }

  const ServerOptions options_;
  const int64_t longest_sequence_;
  const EncoderSource& source_;
  const SteadyClock clock_;
  Logger log_;
  const LibraryLogRedirect library_log_{&log_};
  Mutex mutex_;
  CondVar changed_;
  bool serving_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  bool drained_ ABSL_GUARDED_BY(mutex_) = false;  // a further signal has nothing to hurry
  ShutdownSignals signals_;
  std::unique_ptr<ServiceMetrics> metrics_;
  std::unique_ptr<ModelKeeper> keeper_;
  SliceWatch slice_watch_{Looks(options_.hang_seconds)};
  std::optional<MetricsObserver> observer_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<Security> security_;
  std::unique_ptr<RpcServer> rpc_;
};

}  // namespace

void PrintError(absl::string_view message) {
  const std::string line = absl::StrCat("longwave-server: ", message, "\n");
  std::fputs(line.c_str(), stderr);
}

int Serve(const ServerOptions& options, int64_t longest_sequence, const EncoderSource& source) {
  try {
    ForgoLockOrderChecks();
    ServerProcess process(options, longest_sequence, source);
    return process.Run();
  } catch (const std::system_error& error) {
    // The one thing in here that throws: a thread that the system does not give.
    PrintError(absl::StrCat("cannot start: ", error.what()));
    std::_Exit(kExitFailed);
  }
}

}  // namespace longwave
