#include "model/encoder/disposer.h"

#include <pthread.h>

#include <utility>

namespace longwave {

Disposer::Disposer() : thread_([this] { Work(); }) {}

Disposer::~Disposer() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

void Disposer::Dispose(std::shared_ptr<void> garbage) {
  {
    MutexLock lock(&mutex_);
    garbage_.push_back(std::move(garbage));
  }
  changed_.NotifyAll();
}

void Disposer::Work() {
  pthread_setname_np(pthread_self(), "disposer");
  while (true) {
    std::vector<std::shared_ptr<void>>
        taken;  // destroyed at the end of the round, without the lock
    MutexLock lock(&mutex_);
    while (garbage_.empty() && !stop_) changed_.Wait(&mutex_);
    if (garbage_.empty()) return;
    taken.swap(garbage_);
  }
}

}  // namespace longwave
