#ifndef LONGWAVE_MODEL_BASE_TASK_THREAD_H_
#define LONGWAVE_MODEL_BASE_TASK_THREAD_H_

#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "model/base/mutex.h"

namespace longwave {

// A thread that carries out what others have no time for, one task after the other. Thread-safe.
class TaskThread {
 public:
  // `name`: what the system shows, 15 characters at most.
  explicit TaskThread(const char* name);
  // Carries out what is left.
  ~TaskThread();
  TaskThread(const TaskThread&) = delete;
  TaskThread& operator=(const TaskThread&) = delete;

  // Runs `task` on the thread, in the order of the posts, and lets go of it before the next one.
  void Post(std::function<void()> task);

 private:
  void Run(const char* name);

  Mutex mutex_;
  CondVar changed_;
  std::vector<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses the above
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_BASE_TASK_THREAD_H_
