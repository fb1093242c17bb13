#include "server/rpc/health_service.h"

#include <optional>
#include <utility>

#include "server/rpc/message_io.h"

namespace longwave {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

namespace {

// The name asked for, or nothing if the bytes are no request.
std::optional<std::string> ServiceOf(const grpc::ByteBuffer& bytes) {
  HealthCheckRequest request;
  grpc::ByteBuffer copy = bytes;  // of the references
  if (!ParseMessage(&copy, &request).ok()) return std::nullopt;
  return request.service();
}

grpc::ByteBuffer ToBytes(HealthCheckResponse::ServingStatus status) {
  HealthCheckResponse response;
  response.set_status(status);
  const grpc::Slice slice = SerializeMessage(response);
  return grpc::ByteBuffer(&slice, 1);
}

grpc::Status Malformed() {
  return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "not a HealthCheckRequest");
}

}  // namespace

// Sends the newest state whenever it differs from the last one sent. One write at a time.
class HealthService::WatchReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  WatchReactor(HealthService* service, grpc::CallbackServerContext* context, std::string name)
      : service_(service), name_(std::move(name)), guarded_(service->guard_, context) {}

  const std::string& name() const { return name_; }
  void WasEmpty() const { guarded_.WasEmpty(); }

  void Update(Status status) {
    MutexLock lock(&mutex_);
    wanted_ = status;
    WriteNext();
  }
  void End(grpc::Status status) {
    MutexLock lock(&mutex_);
    if (!end_.has_value()) end_ = std::move(status);
    WriteNext();
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok && !end_.has_value()) end_ = grpc::Status::CANCELLED;
    WriteNext();
  }
  void OnCancel() override { End(grpc::Status::CANCELLED); }
  void OnDone() override { service_->Forget(this); }

 private:
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || finished_) return;
    if (wanted_ != sent_ && !(end_.has_value() && end_->error_code() == grpc::CANCELLED)) {
      sent_ = wanted_;
      message_ = ToBytes(*wanted_);
      writing_ = true;
      StartWrite(&message_);
    } else if (end_.has_value()) {
      finished_ = true;
      Finish(*end_);
    }
  }

  HealthService* const service_;
  const std::string name_;
  GuardedCall guarded_;
  Mutex mutex_;
  grpc::ByteBuffer message_;
  std::optional<Status> wanted_ ABSL_GUARDED_BY(mutex_);
  std::optional<Status> sent_ ABSL_GUARDED_BY(mutex_);
  std::optional<grpc::Status> end_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

HealthService::HealthService(ConnectionGuard* guard, int max_watches)
    : guard_(guard),
      max_watches_(static_cast<size_t>(max_watches)),
      states_({{kHealthServer, HealthCheckResponse::NOT_SERVING},
               {kHealthEncoder, HealthCheckResponse::NOT_SERVING},
               {kHealthLive, HealthCheckResponse::SERVING},
               {kHealthStartup, HealthCheckResponse::NOT_SERVING}}) {}

HealthService::~HealthService() = default;

void HealthService::SetServing(const std::string& name, bool serving) {
  const Status status = serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
  // Under the lock, so that watchers see changes in their order. They lock below this one.
  MutexLock lock(&mutex_);
  states_[name] = status;
  for (const auto& [key, watch] : watches_) {
    if (watch->name() == name) watch->Update(status);
  }
}

void HealthService::EndWatches() {
  MutexLock lock(&mutex_);
  ended_ = true;
  for (const auto& [key, watch] : watches_) {
    watch->End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server is shutting down"));
  }
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context,
                                               const grpc::ByteBuffer* request,
                                               grpc::ByteBuffer* response) {
  auto* reactor = new GuardedUnaryReactor(guard_, context, *request);
  const std::optional<std::string> name = ServiceOf(*request);
  if (!name.has_value()) {
    reactor->Finish(Malformed());
    return reactor;
  }
  MutexLock lock(&mutex_);
  const auto found = states_.find(*name);
  if (found == states_.end()) {
    reactor->Finish(grpc::Status(grpc::StatusCode::NOT_FOUND, "no such service"));
  } else {
    *response = ToBytes(found->second);
    reactor->Finish(grpc::Status::OK);
  }
  return reactor;
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* HealthService::Watch(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  const std::optional<std::string> name = ServiceOf(*request);
  auto watch = std::make_shared<WatchReactor>(this, context, name.value_or(""));
  MutexLock lock(&mutex_);
  if (!request->Valid()) watch->WasEmpty();
  if (!name.has_value()) {
    watch->End(Malformed());
  } else {
    const auto found = states_.find(*name);
    watch->Update(found == states_.end() ? HealthCheckResponse::SERVICE_UNKNOWN : found->second);
  }
  if (ended_) {
    watch->End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server is shutting down"));
  } else if (watches_.size() >= max_watches_) {
    // The one code at which gRPC's clients go on without a watch: at any other they open the next one
    // at once, for ever.
    watch->End(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "too many watches"));
  }
  WatchReactor* reactor = watch.get();
  watches_[reactor] = std::move(watch);
  return reactor;
}

void HealthService::Forget(WatchReactor* watch) {
  std::shared_ptr<WatchReactor> last;  // destroyed without the lock
  MutexLock lock(&mutex_);
  const auto found = watches_.find(watch);
  last = std::move(found->second);
  watches_.erase(found);
}

}  // namespace longwave
