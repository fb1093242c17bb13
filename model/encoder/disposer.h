#ifndef LONGWAVE_MODEL_ENCODER_DISPOSER_H_
#define LONGWAVE_MODEL_ENCODER_DISPOSER_H_

#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "model/base/mutex.h"

namespace longwave {

// Destroys large things on a thread of its own. Giving pages back to the system takes 0.1 ms a MiB:
// a slice that freed the 3 GiB of a million tokens' q, k and v would last a third of a second.
// Thread-safe.
class Disposer {
 public:
  Disposer();
  // Destroys what is left.
  ~Disposer();
  Disposer(const Disposer&) = delete;
  Disposer& operator=(const Disposer&) = delete;

  // Lets go of `garbage` soon, on the other thread.
  void Dispose(std::shared_ptr<void> garbage);

 private:
  void Work();

  Mutex mutex_;
  CondVar changed_;
  std::vector<std::shared_ptr<void>> garbage_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_DISPOSER_H_
