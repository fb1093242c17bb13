#ifndef LONGWAVE_SERVER_RPC_CONNECTION_GUARD_H_
#define LONGWAVE_SERVER_RPC_CONNECTION_GUARD_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>

#include "model/base/clock.h"
#include "model/base/mutex.h"

namespace longwave {

// Cuts connections that open calls and reset them without end ("rapid reset", and resets that a
// peer provokes). gRPC 1.51 forgets a reset stream at once, so that its limit on streams does not
// count it, but keeps its call until a thread has come to it, some 7 KiB each: one connection could
// hold a gigabyte after three seconds, and everybody else's calls waited behind them. Here calls
// count until they are over, and so do those that were reset before their message came.
// Thread-safe.
class ConnectionGuard {
 public:
  // Ends the connection of a peer.
  using Cutter = std::function<void(const std::string& peer)>;

  // Calls without a message that one connection may make in a second: a client that is stopped in
  // the middle of its work leaves some, once.
  static constexpr int64_t kMaxEmptyPerSecond = 1000;

  // A connection is cut when more of its calls than `max_open` are not over, or when it makes more
  // than kMaxEmptyPerSecond without a message. `clock` outlives the guard.
  ConnectionGuard(int64_t max_open, const Clock* clock, Cutter cut)
      : max_open_(max_open), clock_(clock), cut_(std::move(cut)) {}

  void CallBegan(const std::string& peer);
  void CallEnded(const std::string& peer);
  // The call turned out to have no message, or, of a method that is unknown, no caller any more: it
  // was reset before.
  void CallWasEmpty(const std::string& peer);

 private:
  struct Connection {
    int64_t open = 0;
    bool cut = false;  // what it had sent before still comes in
  };

  const int64_t max_open_;
  const Clock* const clock_;
  const Cutter cut_;
  Mutex mutex_;
  // Those that have calls. Peers are unique while they do.
  std::unordered_map<std::string, Connection> connections_ ABSL_GUARDED_BY(mutex_);
  // Of this second.
  std::unordered_map<std::string, int64_t> empty_ ABSL_GUARDED_BY(mutex_);
  Instant second_ ABSL_GUARDED_BY(mutex_) = Instant::min();
};

// One call, for the guard: a member of its reactor.
class GuardedCall {
 public:
  // `guard` outlives the call.
  GuardedCall(ConnectionGuard* guard, grpc::CallbackServerContext* context)
      : guard_(guard), peer_(context->peer()) {
    guard_->CallBegan(peer_);
  }
  GuardedCall(const GuardedCall&) = delete;
  GuardedCall& operator=(const GuardedCall&) = delete;
  ~GuardedCall() { guard_->CallEnded(peer_); }

  void WasEmpty() const { guard_->CallWasEmpty(peer_); }

 private:
  ConnectionGuard* const guard_;
  const std::string peer_;
};

// A reactor that does nothing but answer, for calls that are answered at once. Owns itself.
class GuardedUnaryReactor final : public grpc::ServerUnaryReactor {
 public:
  GuardedUnaryReactor(ConnectionGuard* guard, grpc::CallbackServerContext* context,
                      const grpc::ByteBuffer& request)
      : call_(guard, context) {
    if (!request.Valid()) call_.WasEmpty();
  }

  void OnDone() override { delete this; }

 private:
  ~GuardedUnaryReactor() override = default;

  const GuardedCall call_;
};

// Shuts down the TCP connection of this process whose far end is `peer`, as gRPC spells it
// ("ipv4:192.0.2.1:4711"). gRPC owns the descriptor and sees its peer leave.
bool ShutDownConnection(const std::string& peer);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_CONNECTION_GUARD_H_
