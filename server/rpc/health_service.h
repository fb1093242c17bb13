#ifndef LONGWAVE_SERVER_RPC_HEALTH_SERVICE_H_
#define LONGWAVE_SERVER_RPC_HEALTH_SERVICE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "model/base/mutex.h"
#include "server/rpc/connection_guard.h"

namespace longwave {

// Names that probes ask for.
inline constexpr char kHealthServer[] = "";                             // readiness
inline constexpr char kHealthEncoder[] = "longwave.v1.EncoderService";  // readiness, by service
inline constexpr char kHealthLive[] = "longwave.live";                  // the process is alive
inline constexpr char kHealthStartup[] = "longwave.startup";            // once served, for ever

// grpc.health.v1. gRPC's own implementation says SERVING for a moment before it can be told
// otherwise, bounds nothing, and its Watch calls hold up the server's end; so this one. Answered
// from memory, whatever the executor does. Methods are raw, so that a call whose request never came
// reaches the guard too. Thread-safe.
class HealthService final : public grpc::health::v1::Health::WithRawCallbackMethod_Check<
                                grpc::health::v1::Health::WithRawCallbackMethod_Watch<
                                    grpc::health::v1::Health::Service>> {
 public:
  // All names NOT_SERVING but kHealthLive. At most `max_watches` Watch calls at once. `guard`
  // outlives the service.
  explicit HealthService(ConnectionGuard* guard, int max_watches = 256);
  ~HealthService() override;

  void SetServing(const std::string& name, bool serving);
  // Ends the Watch calls, and those that still come: they would never end by themselves.
  void EndWatches();

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Watch(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request) override;

 private:
  class WatchReactor;
  using Status = grpc::health::v1::HealthCheckResponse::ServingStatus;

  void Forget(WatchReactor* watch);

  ConnectionGuard* const guard_;
  const size_t max_watches_;
  Mutex mutex_;
  std::map<std::string, Status> states_ ABSL_GUARDED_BY(mutex_);
  std::map<WatchReactor*, std::shared_ptr<WatchReactor>> watches_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_HEALTH_SERVICE_H_
