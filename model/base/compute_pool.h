#ifndef LONGWAVE_MODEL_BASE_COMPUTE_POOL_H_
#define LONGWAVE_MODEL_BASE_COMPUTE_POOL_H_

#include <cstdint>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "model/base/mutex.h"

namespace longwave {

// The process's compute threads. Work is cut into numbered pieces whose results do not depend on
// which worker takes them, so nothing that is computed depends on the number of threads.
class ComputePool {
 public:
  // `on_start` runs once in every worker before its first piece (LibTorch's thread count, say).
  // Precondition: threads >= 1.
  ComputePool(int threads, std::function<void()> on_start);
  ~ComputePool();
  ComputePool(const ComputePool&) = delete;
  ComputePool& operator=(const ComputePool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()); }

  // Runs body(piece, worker) for every piece in [0, pieces), in any order, on the workers, and
  // returns when all are done; 0 <= worker < threads(). The first exception of a body is rethrown
  // here after the others have ended. Concurrent calls are served one after another, in the order
  // of their arrival. Must not be called from a worker.
  void ParallelFor(int64_t pieces, absl::FunctionRef<void(int64_t piece, int worker)> body);

 private:
  void Work(int worker);
  void RunPieces(int worker) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  CondVar work_ready_;
  CondVar work_done_;
  CondVar turn_changed_;
  uint64_t next_turn_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t turn_ ABSL_GUARDED_BY(mutex_) = 0;  // of the ParallelFor that owns the pool
  const absl::FunctionRef<void(int64_t, int)>* body_ ABSL_GUARDED_BY(mutex_) = nullptr;
  int64_t next_piece_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t pieces_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t unfinished_ ABSL_GUARDED_BY(mutex_) = 0;
  std::exception_ptr error_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  const std::function<void()> on_start_;
  std::vector<std::thread> workers_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_BASE_COMPUTE_POOL_H_
