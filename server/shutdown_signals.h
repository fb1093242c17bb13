#ifndef LONGWAVE_SERVER_SHUTDOWN_SIGNALS_H_
#define LONGWAVE_SERVER_SHUTDOWN_SIGNALS_H_

#include <csignal>
#include <functional>
#include <thread>

namespace longwave {

// Waits for SIGTERM, SIGINT and SIGQUIT on a thread of its own, so that what follows may lock and
// allocate. Construct before any other thread: the signals are blocked in the caller and in all
// threads that it starts. SIGHUP asks for another look at what can change; SIGPIPE and SIGXFSZ are
// ignored.
class ShutdownSignals {
 public:
  // `on_signal(n)` runs on the waiting thread at the n-th signal, counted from 1, and `on_hangup`
  // at SIGHUP.
  ShutdownSignals(std::function<void(int count)> on_signal, std::function<void()> on_hangup);
  // Joins. The signals stay blocked.
  ~ShutdownSignals();
  ShutdownSignals(const ShutdownSignals&) = delete;
  ShutdownSignals& operator=(const ShutdownSignals&) = delete;

 private:
  void Wait();

  const std::function<void(int count)> on_signal_;
  const std::function<void()> on_hangup_;
  sigset_t signals_;
  std::thread thread_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SHUTDOWN_SIGNALS_H_
