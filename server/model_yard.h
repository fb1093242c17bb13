#ifndef LONGWAVE_SERVER_MODEL_YARD_H_
#define LONGWAVE_SERVER_MODEL_YARD_H_

#include <memory>
#include <utility>
#include <vector>

#include "model/base/mutex.h"
#include "server/admission/served_model.h"

namespace longwave {

// Where models wait to be freed. The last call of a model ends on a thread that computes or
// answers others, and giving back a model's memory takes longer than those should stand still.
class ModelYard {
 public:
  // A model that comes to `yard` instead of being freed by whoever lets go of it last.
  static std::shared_ptr<ServedModel> Share(std::shared_ptr<ModelYard> yard,
                                            std::unique_ptr<ServedModel> model) {
    return {model.release(), [yard = std::move(yard)](ServedModel* released) {
              yard->Put(std::unique_ptr<ServedModel>(released));
            }};
  }

  // Those that came since the last call.
  std::vector<std::unique_ptr<ServedModel>> Take() {
    MutexLock lock(&mutex_);
    return std::exchange(models_, {});
  }
  // Nobody will call Take any more: what still comes is freed at once.
  void Close() {
    MutexLock lock(&mutex_);
    closed_ = true;
  }

 private:
  void Put(std::unique_ptr<ServedModel> model) {
    MutexLock lock(&mutex_);
    if (!closed_) models_.push_back(std::move(model));
  }

  Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::unique_ptr<ServedModel>> models_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_MODEL_YARD_H_
