#ifndef LONGWAVE_SERVER_RPC_RPC_SERVER_H_
#define LONGWAVE_SERVER_RPC_RPC_SERVER_H_

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/base/mutex.h"
#include "server/rpc/encoder_service.h"
#include "server/rpc/health_service.h"
#include "server/rpc/inference/inference_service.h"
#include "server/rpc/listener.h"
#include "server/rpc/rpc_options.h"
#include "server/rpc/service_core.h"
#include "server/rpc/unknown_methods.h"
#include "server/security/tls_store.h"

namespace longwave {

// Who may connect, and who may call. Null: anyone, in plaintext. Both outlive the server.
struct PortAccess {
  const TlsStore* tls = nullptr;
  const Authenticator* authenticator = nullptr;
};

// The gRPC port: our service, health and (if asked for) reflection. Open from the start; until
// Serve, health says NOT_SERVING and calls get LOADING.
class RpcServer {
 public:
  // `longest_sequence` sets the receive limit. `clock` and, if not null, `metrics` and `log`
  // outlive the server. UNAVAILABLE if the port cannot be bound.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Create(
      const PortOptions& port, const CallOptions& calls, int64_t longest_sequence,
      const Clock* clock, ServiceMetrics* metrics, Logger* log, PortAccess access = {});
  // Cuts off what is still open.
  ~RpcServer();

  int port() const { return port_; }
  // Connections that were closed at once because descriptors were short.
  int64_t refused_connections() const { return listener_ == nullptr ? 0 : listener_->refused(); }
  // SERVING. The backend outlives the server.
  void Serve(Backend backend);
  // As ServiceCore::Swap and SetUnserved; readiness stays as it is.
  bool Swap(std::shared_ptr<ServedModel> model) { return core_.Swap(std::move(model)); }
  void SetUnserved(std::vector<UnservedVersion> versions) {
    core_.SetUnserved(std::move(versions));
  }
  // Readiness only: NOT_SERVING, while calls are still taken (drain, first part).
  void SetNotReady();

  // Waits until `until`, or until hurried: calls go on coming (drain, second part).
  void Linger(Instant until) { AwaitShutdown(until); }

  struct DrainOutcome {
    bool clean = true;   // every call ended by itself in time
    bool stuck = false;  // a call would not end: exit without destroying this
  };
  // Takes no further calls and lets those in flight finish. At `deadline`, or when hurried,
  // `end_rest` must give everything that the scheduler still holds a status; what does not end then
  // is cancelled. Called once.
  DrainOutcome Drain(Instant deadline, const std::function<void()>& end_rest);
  // Ends the waiting of Drain. From any thread.
  void Hurry();

 private:
  RpcServer(const CallOptions& calls, const Clock* clock, ServiceMetrics* metrics, Logger* log,
            PortAccess access);
  // Opens `address` within `builder`.
  absl::Status Listen(const std::string& address,
                      const std::shared_ptr<grpc::ServerCredentials>& credentials,
                      grpc::ServerBuilder& builder);
  void StartAccepting();
  void StopAccepting() {
    if (listener_ != nullptr) listener_->Stop();
  }
  // gRPC's shutdown, on the thread that waits for it: calls are cancelled at `cut_off`.
  void ShutDown(Instant cut_off);
  void ShutDownWhenTold();
  // Waits until clients have noticed that calls are refused.
  void AwaitQuiet();
  // After the last status: whether all calls ended soon.
  bool AwaitLastWords();
  // Whether all calls ended before `deadline` and before Hurry.
  bool AwaitShutdown(Instant deadline);

  ServiceCore core_;
  EncoderServiceImpl service_;
  InferenceServiceImpl inference_;
  HealthService health_;
  UnknownMethods unknown_methods_;
  std::unique_ptr<Listener> listener_;  // null: a unix socket, which gRPC opens
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> acceptor_;
  std::shared_ptr<grpc::ServerCredentials> credentials_;  // asked for as long as there is a server
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;

  Mutex mutex_;
  CondVar changed_;
  bool hurried_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<Instant> cut_off_ ABSL_GUARDED_BY(mutex_);  // set: shut down, cancel calls then
  bool shut_down_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread shutdown_thread_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_RPC_SERVER_H_
