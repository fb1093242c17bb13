#include "server/shutdown_signals.h"

#include <pthread.h>

#include <utility>

namespace longwave {
namespace {

// Ends the waiting thread; nobody else sends it.
constexpr int kStop = SIGUSR1;

}  // namespace

ShutdownSignals::ShutdownSignals(std::function<void(int)> on_signal)
    : on_signal_(std::move(on_signal)) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGHUP, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error of its write
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGTERM);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, SIGQUIT);  // else it would dump a core, and all calls with it
  sigaddset(&signals_, kStop);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  thread_ = std::thread([this] { Wait(); });
}

ShutdownSignals::~ShutdownSignals() {
  pthread_kill(thread_.native_handle(), kStop);
  thread_.join();
}

void ShutdownSignals::Wait() {
  int count = 0;
  while (true) {
    int signal = 0;
    if (sigwait(&signals_, &signal) != 0) continue;
    if (signal == kStop) return;
    on_signal_(++count);
  }
}

}  // namespace longwave
