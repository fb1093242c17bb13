#ifndef LONGWAVE_SERVER_RPC_LISTENER_H_
#define LONGWAVE_SERVER_RPC_LISTENER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/base/owned_fd.h"
#include "server/observability/log.h"

namespace longwave {

// How many of the `limit` descriptors that a process may have are kept from connections: for the
// metrics port, the log, model files and whatever else must go on when callers take all others.
int64_t ReservedDescriptors(int64_t limit);

// Accepts TCP connections and keeps their number within the process's descriptors. Stands in for
// gRPC 1.51's own accept loop, which ends for good at the first connection that finds no descriptor
// left. A connection that would eat into the reserve is closed at once. The limit is read anew for
// every connection.
class Listener {
 public:
  // Opens every address of "HOST:PORT"; port 0: any free one. `log` (may be null) outlives this.
  // UNAVAILABLE if one cannot be had.
  static absl::StatusOr<std::unique_ptr<Listener>> Open(absl::string_view address, Logger* log);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int port() const { return port_; }
  // Hands connections to `take`, which owns them, from a thread of its own until Stop. Called once.
  void Start(std::function<void(OwnedFd)> take);
  // Takes no further connection, however many wait, and closes the port. Idempotent; one thread.
  void Stop();
  // Connections closed for want of descriptors.
  int64_t refused() const { return refused_.load(std::memory_order_relaxed); }

 private:
  explicit Listener(Logger* log) : log_(log) {}

  absl::Status Bind(absl::string_view address);
  void Run();
  // Takes some of what waits at one port. False: there was no descriptor.
  bool AcceptWaiting(int listening);
  void Refused();

  Logger* const log_;
  int port_ = 0;
  std::vector<OwnedFd> listening_;
  OwnedFd wake_;  // an eventfd: readable once Stop was called
  std::function<void(OwnedFd)> take_;
  std::atomic<int64_t> refused_{0};
  std::thread thread_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_LISTENER_H_
