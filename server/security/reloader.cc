#include "server/security/reloader.h"

#include <utility>

#include "server/security/file_group.h"
#include "server/security/sha256.h"

namespace longwave {

Reloader::Reloader(const char* event, std::vector<std::string> paths, Apply apply, Logger* log)
    : event_(event), paths_(std::move(paths)), apply_(std::move(apply)), log_(log) {}

Reloader::State Reloader::Read() const {
  State state;
  auto contents = ReadFileGroup(paths_);
  if (!contents.ok()) {
    state.status = contents.status();
    state.digest = Sha256Of(contents.status().message());
    return state;
  }
  std::string digests;
  for (const std::string& text : *contents) {
    const Sha256Digest digest = Sha256Of(text);
    digests.append(digest.begin(), digest.end());
  }
  state.digest = Sha256Of(digests);
  state.contents = *std::move(contents);
  return state;
}

absl::Status Reloader::Load() {
  const State state = Read();
  last_ = state.digest;
  last_result_ = state.status.ok() ? apply_(state.contents) : state.status;
  return last_result_;
}

void Reloader::Look() {
  const State state = Read();
  const bool same = state.digest == last_;
  if (same && last_result_.ok()) return;
  last_ = state.digest;
  absl::Status result = state.status.ok() ? apply_(state.contents) : state.status;
  const bool told = same && result == last_result_;
  last_result_ = std::move(result);
  if (!told) Count(last_result_);
}

void Reloader::Count(const absl::Status& status) {
  (status.ok() ? successes_ : failures_).fetch_add(1, std::memory_order_relaxed);
  if (log_ == nullptr) return;
  if (status.ok()) {
    log_->Info(event_, {{"result", "success"}});
  } else {
    const absl::string_view message = status.message();
    log_->Error(event_, {{"result", "failure"}, {"message", message}, {"kept", "what was in use"}});
  }
}

ReloadLoop::ReloadLoop(std::vector<Reloader*> reloaders, Nanoseconds interval)
    : reloaders_(std::move(reloaders)), interval_(interval), thread_([this] { Run(); }) {}

ReloadLoop::~ReloadLoop() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void ReloadLoop::Run() {
  while (true) {
    {
      const Instant next = std::chrono::steady_clock::now() + interval_;
      MutexLock lock(&mutex_);
      while (!stop_ && changed_.WaitUntil(&mutex_, next)) {
      }
      if (stop_) return;
    }
    for (Reloader* reloader : reloaders_) reloader->Look();
  }
}

}  // namespace longwave
