#ifndef LONGWAVE_SERVER_RPC_REPLY_THREAD_H_
#define LONGWAVE_SERVER_RPC_REPLY_THREAD_H_

#include <functional>
#include <thread>
#include <vector>

#include "model/base/mutex.h"

namespace longwave {

// A thread beside the executor's that writes replies: to serialise one and to hand it to gRPC takes
// a few tenths of a millisecond, in which the next batch could be computed. Thread-safe.
class ReplyThread {
 public:
  ReplyThread();
  // Carries out what was posted.
  ~ReplyThread();
  ReplyThread(const ReplyThread&) = delete;
  ReplyThread& operator=(const ReplyThread&) = delete;

  // Runs `reply` on the thread, in the order of the posts. How many there are is bounded by who
  // posts: what is admitted holds memory until its reply is taken.
  void Post(std::function<void()> reply);

 private:
  void Run();

  Mutex mutex_;
  CondVar changed_;
  std::vector<std::function<void()>> posted_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses the above
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_REPLY_THREAD_H_
