#ifndef LONGWAVE_MODEL_KERNELS_CUDA_DEVICE_REGISTRY_H_
#define LONGWAVE_MODEL_KERNELS_CUDA_DEVICE_REGISTRY_H_

#include <map>
#include <memory>

#include "model/base/mutex.h"

namespace longwave::cuda {

// One T for each device, shared by all who ask while one of them holds it. Layers are made one by
// one and know only their device: with handles and workspaces of their own they would multiply the
// memory that these take. The one thing in model/ that outlives a call without an owner, and it
// holds nothing by itself. Thread-safe.
template <typename T>
std::shared_ptr<T> OfDevice(int device) {
  struct Registry {
    Mutex mutex;
    std::map<int, std::weak_ptr<T>> known ABSL_GUARDED_BY(mutex);
  };
  static Registry* const kRegistry = new Registry;  // not destroyed: the driver may go before it
  MutexLock lock(&kRegistry->mutex);
  std::weak_ptr<T>& known = kRegistry->known[device];
  std::shared_ptr<T> found = known.lock();
  if (found == nullptr) {
    found = std::make_shared<T>();
    known = found;
  }
  return found;
}

}  // namespace longwave::cuda

#endif  // LONGWAVE_MODEL_KERNELS_CUDA_DEVICE_REGISTRY_H_
