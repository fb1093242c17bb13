#include "server/rpc/reply_thread.h"

#include <pthread.h>

#include <utility>

namespace longwave {

ReplyThread::ReplyThread() : thread_([this] { Run(); }) {}

ReplyThread::~ReplyThread() {
  {
    MutexLock lock(&mutex_);
    stopped_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void ReplyThread::Post(std::function<void()> reply) {
  MutexLock lock(&mutex_);
  posted_.push_back(std::move(reply));
  changed_.NotifyAll();
}

void ReplyThread::Run() {
  pthread_setname_np(pthread_self(), "replies");
  std::vector<std::function<void()>> replies;
  while (true) {
    {
      MutexLock lock(&mutex_);
      while (posted_.empty() && !stopped_) changed_.Wait(&mutex_);
      if (posted_.empty()) return;
      replies.swap(posted_);
    }
    for (std::function<void()>& reply : replies) {
      reply();
      reply = nullptr;  // its call may be the last to hold a model or a connection
    }
    replies.clear();
  }
}

}  // namespace longwave
