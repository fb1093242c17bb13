#include "server/shutdown_signals.h"

#include <pthread.h>

#include <utility>

namespace longwave {
namespace {

// Ends the waiting thread; nobody else sends it.
constexpr int kStop = SIGUSR1;

}  // namespace

ShutdownSignals::ShutdownSignals(std::function<void(int)> on_signal,
                                 std::function<void()> on_hangup)
    : on_signal_(std::move(on_signal)), on_hangup_(std::move(on_hangup)) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is an error of its write
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGTERM);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, SIGQUIT);  // else it would dump a core, and all calls with it
  sigaddset(&signals_, SIGHUP);
  sigaddset(&signals_, kStop);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  std::signal(SIGHUP, SIG_DFL);  // nohup has it ignored, and an ignored signal is never waited for
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
    if (signal == SIGHUP) {
      on_hangup_();
    } else {
      on_signal_(++count);
    }
  }
}

}  // namespace longwave
