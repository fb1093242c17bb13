#include "model/base/compute_pool.h"

#include <pthread.h>

#include <string>
#include <utility>

namespace longwave {

ComputePool::ComputePool(int threads, std::function<void()> on_start)
    : on_start_(std::move(on_start)) {
  workers_.reserve(threads);
  for (int worker = 0; worker < threads; ++worker) {
    workers_.emplace_back([this, worker] { Work(worker); });
  }
}

ComputePool::~ComputePool() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
  }
  work_ready_.NotifyAll();
  for (std::thread& worker : workers_) worker.join();
}

void ComputePool::ParallelFor(int64_t pieces,
                              absl::FunctionRef<void(int64_t piece, int worker)> body) {
  if (pieces <= 0) return;
  std::exception_ptr error;
  {
    MutexLock lock(&mutex_);
    // A lock would let a caller that comes again at once pass one that waits.
    const uint64_t turn = next_turn_++;
    while (turn != turn_) turn_changed_.Wait(&mutex_);
    body_ = &body;
    next_piece_ = 0;
    pieces_ = pieces;
    unfinished_ = pieces;
    error_ = nullptr;
    work_ready_.NotifyAll();
    while (unfinished_ > 0) work_done_.Wait(&mutex_);
    body_ = nullptr;
    error = std::exchange(error_, nullptr);
    ++turn_;
    turn_changed_.NotifyAll();
  }
  if (error != nullptr) std::rethrow_exception(error);
}

void ComputePool::Work(int worker) {
  pthread_setname_np(pthread_self(), ("compute-" + std::to_string(worker)).c_str());
  if (on_start_) on_start_();
  MutexLock lock(&mutex_);
  while (true) {
    while (!stop_ && (body_ == nullptr || next_piece_ >= pieces_)) work_ready_.Wait(&mutex_);
    if (stop_) return;
    RunPieces(worker);
  }
}

void ComputePool::RunPieces(int worker) {
  while (body_ != nullptr && next_piece_ < pieces_) {
    const absl::FunctionRef<void(int64_t, int)> body = *body_;
    const int64_t piece = next_piece_++;
    std::exception_ptr error;
    mutex_.Unlock();
    try {
      body(piece, worker);
    } catch (...) {
      error = std::current_exception();
    }
    mutex_.Lock();
    if (error != nullptr && error_ == nullptr) error_ = std::move(error);
    if (--unfinished_ == 0) work_done_.NotifyAll();
  }
}

}  // namespace longwave
