#include "server/rpc/service_core.h"

#include <utility>

#include "model/base/error.h"
#include "server/scheduling/draining_error.h"

namespace longwave {

ServiceCore::ServiceCore(CallOptions options, const Clock* clock, ServiceMetrics* metrics,
                         Logger* log, const Authenticator* authenticator)
    : options_(std::move(options)),
      clock_(clock),
      metrics_(metrics),
      log_(log),
      authenticator_(authenticator),
      guard_(options_.max_open_calls, clock, [log](const std::string& peer) {
        const bool found = ShutDownConnection(peer);
        if (log == nullptr) return;
        log->Warning("connection_cut", {{"peer", peer}, {"reason", "resets"}, {"found", found}});
      }) {}

void ServiceCore::Serve(Backend backend) {
  MutexLock lock(&mutex_);
  backend_ = std::move(backend);
  if (state_ == State::kLoading) state_ = State::kServing;
}

bool ServiceCore::Swap(std::shared_ptr<ServedModel> model) {
  MutexLock lock(&mutex_);
  if (state_ != State::kServing) return false;
  std::erase_if(retired_, [](const auto& ended) { return ended.expired(); });
  retired_.insert(retired_.begin(), backend_.model);
  backend_.model.swap(model);  // the old one goes with the argument, without the lock
  return true;
}

std::vector<std::shared_ptr<ServedModel>> ServiceCore::DrainingModels() const {
  std::vector<std::shared_ptr<ServedModel>> draining;
  MutexLock lock(&mutex_);
  for (const auto& retired : retired_) {
    if (auto model = retired.lock()) draining.push_back(std::move(model));
  }
  return draining;
}

void ServiceCore::SetUnserved(std::vector<UnservedVersion> versions) {
  MutexLock lock(&mutex_);
  unserved_ = std::move(versions);
}

std::vector<UnservedVersion> ServiceCore::Unserved() const {
  MutexLock lock(&mutex_);
  return unserved_;
}

void ServiceCore::SetNotReady() {
  MutexLock lock(&mutex_);
  not_ready_ = true;
}

void ServiceCore::BeginDrain() {
  {
    MutexLock lock(&mutex_);
    state_ = State::kDraining;
  }
  // A stream that registers after the line above sees the state by itself at its first Open.
  for (const auto& listener : Listeners()) listener->OnDrain();
}

void ServiceCore::Abort() {
  for (const auto& listener : Listeners()) listener->OnAbort();
}

ServiceCore::State ServiceCore::state() const {
  MutexLock lock(&mutex_);
  return state_;
}

absl::StatusOr<Backend> ServiceCore::Enter() {
  Backend backend;
  {
    MutexLock lock(&mutex_);
    if (state_ == State::kLoading) {
      return MakeError(ErrorReason::kLoading, "the model is being loaded");
    }
    if (state_ == State::kDraining) {
      last_refused_ = clock_->Now();
      return DrainingError();
    }
    backend = backend_;
  }
  if (absl::Status health = backend.encoder().Health(); !health.ok()) return health;
  return backend;
}

std::optional<Backend> ServiceCore::Ready() const {
  std::optional<Backend> backend;
  {
    MutexLock lock(&mutex_);
    if (state_ != State::kServing || not_ready_) return std::nullopt;
    backend = backend_;
  }
  if (!backend->encoder().Health().ok()) return std::nullopt;
  return backend;
}

Instant ServiceCore::last_refused() const {
  MutexLock lock(&mutex_);
  return last_refused_;
}

void ServiceCore::AddListener(std::weak_ptr<DrainListener> listener) {
  MutexLock lock(&mutex_);
  // The ended ones go when their number has doubled what lives, so that adding stays cheap.
  if (listeners_.size() == listeners_.capacity()) {
    std::erase_if(listeners_, [](const auto& ended) { return ended.expired(); });
  }
  listeners_.push_back(std::move(listener));
}

std::vector<std::shared_ptr<DrainListener>> ServiceCore::Listeners() {
  MutexLock lock(&mutex_);
  std::vector<std::shared_ptr<DrainListener>> live;
  for (const auto& listener : listeners_) {
    if (auto shared = listener.lock()) live.push_back(std::move(shared));
  }
  return live;
}

bool ServiceCore::ReserveReceiving(int64_t bytes) {
  if (receiving_bytes_.fetch_add(bytes) + bytes <= options_.max_receiving_bytes) return true;
  receiving_bytes_.fetch_sub(bytes);
  return false;
}

void ServiceCore::ReleaseReceiving(int64_t bytes) { receiving_bytes_.fetch_sub(bytes); }

}  // namespace longwave
