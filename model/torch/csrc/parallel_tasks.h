#ifndef LONGWAVE_MODEL_TORCH_CSRC_PARALLEL_TASKS_H_
#define LONGWAVE_MODEL_TORCH_CSRC_PARALLEL_TASKS_H_

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace longwave::torch_ops {

// Calls task(i) for i in [0, count) on LibTorch's threads, each of which takes the next one when it
// is done with its last: sequences of a batch differ in length.
template <class Task>
void ParallelTasks(int64_t count, const Task& task) {
  std::atomic<int64_t> next{0};
  const int64_t threads = std::min<int64_t>(at::get_num_threads(), count);
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) task(i);
  });
}

}  // namespace longwave::torch_ops

#endif  // LONGWAVE_MODEL_TORCH_CSRC_PARALLEL_TASKS_H_
