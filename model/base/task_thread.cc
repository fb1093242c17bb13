#include "model/base/task_thread.h"

#include <pthread.h>

#include <utility>

namespace longwave {

TaskThread::TaskThread(const char* name) : thread_([this, name] { Run(name); }) {}

TaskThread::~TaskThread() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

void TaskThread::Post(std::function<void()> task) {
  {
    MutexLock lock(&mutex_);
    tasks_.push_back(std::move(task));
  }
  changed_.NotifyAll();
}

void TaskThread::Run(const char* name) {
  pthread_setname_np(pthread_self(), name);
  std::vector<std::function<void()>> tasks;
  while (true) {
    {
      MutexLock lock(&mutex_);
      while (tasks_.empty() && !stop_) changed_.Wait(&mutex_);
      if (tasks_.empty()) return;
      tasks.swap(tasks_);
    }
    for (std::function<void()>& task : tasks) {
      task();
      task = nullptr;  // what it holds may be large, or the last to hold something
    }
    tasks.clear();
  }
}

}  // namespace longwave
