#ifndef LONGWAVE_CLIENT_MODEL_CACHE_H_
#define LONGWAVE_CLIENT_MODEL_CACHE_H_

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "longwave/v1/model.pb.h"

namespace longwave::client {

// What servers said about their models, so that limits are asked for once. Thread-safe.
class ModelCache {
 public:
  // Null: not known.
  std::shared_ptr<const v1::Model> Find(const std::string& model,
                                        const std::string& version) const {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto it = models_.find({model, version});
    return it == models_.end() ? nullptr : it->second;
  }
  void Put(const std::string& model, const std::string& version,
           std::shared_ptr<const v1::Model> value) {
    std::lock_guard<std::mutex> lock(mutex_);
    models_[{model, version}] = std::move(value);
  }
  // For when an answer contradicts what was said.
  void Forget(const std::string& model, const std::string& version) {
    std::lock_guard<std::mutex> lock(mutex_);
    models_.erase({model, version});
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<const v1::Model>> models_;
};

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_MODEL_CACHE_H_
