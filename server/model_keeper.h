#ifndef LONGWAVE_SERVER_MODEL_KEEPER_H_
#define LONGWAVE_SERVER_MODEL_KEEPER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/api/encoder.h"
#include "model/base/clock.h"
#include "model/base/mutex.h"
#include "server/admission/served_model.h"
#include "server/admission/unserved_version.h"
#include "server/encoder_source.h"
#include "server/model_options.h"
#include "server/model_versions.h"
#include "server/model_yard.h"
#include "server/observability/log.h"
#include "server/observability/service_metrics.h"

namespace longwave {

// Checks the options with every version that lies at their path now. Returns the longest sequence
// of those that could be served; an error if none could. As EncoderSource::configure.
absl::StatusOr<int64_t> ConfigureModel(const ModelOptions& options, const EncoderSource& source);

// Keeps the best version of the model in service: loads it at the start, looks for another one
// when told to or every ModelOptions::poll_seconds, and loads that on a thread of its own
// while the old one serves. A version that cannot be served is logged, counted and left
// alone until its files change. Thread-safe but for LoadFirst and Watch.
class ModelKeeper {
 public:
  // Puts a model in service. False: the server is leaving, and nothing is.
  using SwitchTo = std::function<bool(std::shared_ptr<ServedModel>)>;
  // Gets the versions that are loading or have failed, whenever they change.
  using Publish = std::function<void(std::vector<UnservedVersion>)>;

  // `longest_sequence`: what the port was opened for; versions that need more are refused.
  // `source`, `clock`, `metrics` and `log` outlive the keeper.
  ModelKeeper(const ModelOptions& options, int64_t longest_sequence, const EncoderSource* source,
              const Clock* clock, ServiceMetrics* metrics, Logger* log);
  // Waits for a load under way.
  ~ModelKeeper();
  ModelKeeper(const ModelKeeper&) = delete;
  ModelKeeper& operator=(const ModelKeeper&) = delete;

  // Loads the highest version that can be served. If there is none: what is wrong with the highest.
  absl::Status LoadFirst();
  // Begins to look for others. Both functions are called on the keeper's thread, without locks.
  void Watch(SwitchTo switch_to, Publish publish);

  // Looks now, or once the load under way has ended; many calls are as good as one. What is there
  // is taken as complete, whereas polling waits until it finds the same files twice.
  void Look();
  // No load begins any more, no version is switched to. Returns false while a load is under way,
  // which nothing can interrupt.
  bool Stop();

  // In service; null before LoadFirst.
  std::shared_ptr<ServedModel> current() const;
  // Frees the models whose last call has ended. On the caller's thread: it takes a while.
  void FreeReleased();
  // Of all models so far: never decreases.
  FftGuardCounts FftGuard();

 private:
  enum class Wake { kStop, kAsked, kPoll };
  // A model, as long as it lives, and what its guard had counted when it was last seen.
  struct Counted {
    std::weak_ptr<ServedModel> model;
    FftGuardCounts counts;
  };

  void Run();
  Wake AwaitWake();
  std::vector<ModelVersion> Find() const;
  void LookAround(Wake wake);
  // Loads, and switches unless the version cannot be served or is served already. False: leaving.
  bool Replace(const ModelVersion& version);
  absl::StatusOr<std::shared_ptr<ServedModel>> Load(const ModelVersion& version);
  absl::Status CheckFits(const EncoderInfo& loaded) const;
  // Logs it; returns the result that it counts as.
  const char* NoteFailure(const ModelVersion& version, const absl::Status& problem);
  void LogSwitch(const ServedModel& model, double seconds);
  void SetCurrent(std::shared_ptr<ServedModel> model);
  void Tell(const std::string* loading) const;

  const ModelOptions options_;
  const int64_t longest_sequence_;
  const EncoderSource& source_;
  const Clock& clock_;
  ServiceMetrics& metrics_;
  Logger& log_;
  const bool versioned_;  // as it was at the start
  const std::shared_ptr<ModelYard> yard_ = std::make_shared<ModelYard>();

  // Of whoever loads: the caller of LoadFirst, then the thread.
  VersionHistory history_;
  std::map<std::string, std::string> seen_;  // path -> stamp at the last look
  SwitchTo switch_to_;
  Publish publish_;

  mutable Mutex mutex_;
  CondVar changed_;
  bool look_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<ServedModel> current_ ABSL_GUARDED_BY(mutex_);
  std::vector<Counted> counted_ ABSL_GUARDED_BY(mutex_);
  FftGuardCounts gone_counts_ ABSL_GUARDED_BY(mutex_);  // of models that are no more
  std::thread thread_;                                  // last: it uses the above
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_MODEL_KEEPER_H_
