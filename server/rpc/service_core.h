#ifndef LONGWAVE_SERVER_RPC_SERVICE_CORE_H_
#define LONGWAVE_SERVER_RPC_SERVICE_CORE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "model/api/encoder.h"
#include "model/base/clock.h"
#include "model/base/mutex.h"
#include "model/base/task_thread.h"
#include "server/admission/unserved_version.h"
#include "server/observability/log.h"
#include "server/observability/service_metrics.h"
#include "server/rpc/connection_guard.h"
#include "server/rpc/rpc_options.h"
#include "server/scheduling/scheduler.h"
#include "server/security/authenticator.h"

namespace longwave {

// The model in service and the scheduler in front of it. Each call keeps the one it began with.
struct Backend {
  std::shared_ptr<ServedModel> model;
  Scheduler* scheduler = nullptr;

  Encoder& encoder() const { return *model->encoder; }
};

// A call that lives until it is told to end: a stream.
class DrainListener {
 public:
  virtual ~DrainListener() = default;
  // Take no further requests, end when the open ones have ended.
  virtual void OnDrain() = 0;
  // End now, with whatever status that takes.
  virtual void OnAbort() = 0;
};

// What all calls share: the server's state, its options and where it reports to. Thread-safe.
class ServiceCore {
 public:
  enum class State { kLoading, kServing, kDraining };

  // `clock` and, if not null, `metrics` and `log` outlive the core.
  // `authenticator`: null if everyone may call; outlives the core too.
  ServiceCore(CallOptions options, const Clock* clock, ServiceMetrics* metrics, Logger* log,
              const Authenticator* authenticator = nullptr);

  // From loading to serving. The scheduler outlives the core's last call.
  void Serve(Backend backend);
  // Another version for the requests that come from now on; those that have begun keep theirs.
  // False, and nothing is changed, unless serving.
  bool Swap(std::shared_ptr<ServedModel> model);
  // Before draining: requests are still let in, and whoever asks hears that there is a better
  // place.
  void SetNotReady();
  // To draining: no request is let in any more; listeners are told.
  void BeginDrain();
  // Tells the listeners to end now.
  void Abort();

  State state() const;
  // Lets a request in: the backend, or LOADING, DRAINING, or why the device answers no more.
  absl::StatusOr<Backend> Enter();
  // The backend if this is a place to send requests to: not while loading, nor from SetNotReady on.
  std::optional<Backend> Ready() const;

  // Versions that were in service before and have calls that have not ended, the newest first.
  std::vector<std::shared_ptr<ServedModel>> DrainingModels() const;
  void SetUnserved(std::vector<UnservedVersion> versions);
  std::vector<UnservedVersion> Unserved() const;

  // When Enter last answered DRAINING; Instant::min(): never.
  Instant last_refused() const;

  void AddListener(std::weak_ptr<DrainListener> listener);

  // Requests (of streams: tags) that have no answer yet.
  void RequestStarted() { open_requests_.fetch_add(1); }
  void RequestEnded() { open_requests_.fetch_sub(1); }
  int64_t open_requests() const { return open_requests_.load(); }

  // Counts bytes of ids that have arrived for requests which are not complete. False: above
  // CallOptions::max_receiving_bytes, nothing counted.
  bool ReserveReceiving(int64_t bytes);
  void ReleaseReceiving(int64_t bytes);

  const CallOptions& options() const { return options_; }
  ConnectionGuard& guard() { return guard_; }
  // Writes replies beside the executor: to serialise one and to hand it to gRPC takes some tenths
  // of a millisecond, in which the next batch could be computed. What waits there is bounded by
  // what is admitted, which holds memory until its reply is taken.
  TaskThread& replies() { return replies_; }
  const Clock& clock() const { return *clock_; }
  ServiceMetrics* metrics() const { return metrics_; }
  Logger* log() const { return log_; }
  const Authenticator* authenticator() const { return authenticator_; }

 private:
  std::vector<std::shared_ptr<DrainListener>> Listeners();

  const CallOptions options_;
  const Clock* const clock_;
  ServiceMetrics* const metrics_;
  Logger* const log_;
  const Authenticator* const authenticator_;
  ConnectionGuard guard_;
  mutable Mutex mutex_;
  State state_ ABSL_GUARDED_BY(mutex_) = State::kLoading;
  bool not_ready_ ABSL_GUARDED_BY(mutex_) = false;
  Backend backend_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::weak_ptr<ServedModel>> retired_ ABSL_GUARDED_BY(mutex_);  // the newest first
  std::vector<UnservedVersion> unserved_ ABSL_GUARDED_BY(mutex_);
  Instant last_refused_ ABSL_GUARDED_BY(mutex_) = Instant::min();
  std::vector<std::weak_ptr<DrainListener>> listeners_ ABSL_GUARDED_BY(mutex_);
  std::atomic<int64_t> open_requests_{0};
  std::atomic<int64_t> receiving_bytes_{0};
  TaskThread replies_{"replies"};  // last: the calls whose replies it writes use the above
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_SERVICE_CORE_H_
