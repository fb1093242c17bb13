#include "server/model_keeper.h"

#include <pthread.h>

#include <algorithm>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"

namespace longwave {
namespace {

// Whether requests see no difference. What is left out of it follows from these.
bool SameModel(const EncoderInfo& a, const EncoderInfo& b) {
  return a.model == b.model && a.version == b.version && a.weights_digest == b.weights_digest &&
         a.fingerprint == b.fingerprint && a.max_tokens == b.max_tokens &&
         a.default_pooling == b.default_pooling && a.default_normalize == b.default_normalize &&
         a.truncate_dims == b.truncate_dims && a.tokenizer_kind == b.tokenizer_kind &&
         a.tokenizer_fingerprint == b.tokenizer_fingerprint && a.routes == b.routes;
}

// What clients have to know of: vectors of another width, ids of another meaning.
std::string Differences(const EncoderInfo& from, const EncoderInfo& to) {
  std::string text;
  const auto note = [&text](absl::string_view what, bool differs) {
    if (differs) absl::StrAppend(&text, text.empty() ? "" : ", ", what);
  };
  note("dim", from.dim != to.dim);
  note("vocab_size", from.vocab_size != to.vocab_size);
  note("max_tokens", from.max_tokens != to.max_tokens);
  note("tokenizer", from.tokenizer_kind != to.tokenizer_kind ||
                        from.tokenizer_fingerprint != to.tokenizer_fingerprint);
  note("pooling", from.default_pooling != to.default_pooling ||
                      from.default_normalize != to.default_normalize);
  return text;
}

void Add(const FftGuardCounts& counts, FftGuardCounts& sum) {
  sum.fp32_heads += counts.fp32_heads;
  sum.fp64_heads += counts.fp64_heads;
  sum.tiles_heads += counts.tiles_heads;
  sum.recomputed_rows += counts.recomputed_rows;
}

ModelOptions At(const ModelOptions& options, const ModelVersion& version) {
  ModelOptions at = options;
  at.path = version.path;
  return at;
}

// The folder that a version is in, as operators know it.
absl::string_view NameOf(const ModelVersion& version) {
  return version.name.empty() ? absl::string_view(version.path) : absl::string_view(version.name);
}

}  // namespace

absl::StatusOr<int64_t> ConfigureModel(const ModelOptions& options, const EncoderSource& source) {
  if (!HasVersions(options.path)) return source.configure(options);
  absl::StatusOr<int64_t> longest = absl::NotFoundError("--model: no version");
  bool first = true;
  for (const ModelVersion& version : ListVersions(options.path)) {
    const absl::StatusOr<int64_t> tokens = source.configure(At(options, version));
    if (longest.ok()) {
      if (tokens.ok()) longest = std::max(*longest, *tokens);
    } else if (tokens.ok() || first) {
      longest = tokens;
    }
    first = false;
  }
  return longest;
}

ModelKeeper::ModelKeeper(const ModelOptions& options, int64_t longest_sequence,
                         const EncoderSource* source, const Clock* clock, ServiceMetrics* metrics,
                         Logger* log)
    : options_(options),
      longest_sequence_(longest_sequence),
      source_(*source),
      clock_(*clock),
      metrics_(*metrics),
      log_(*log),
      versioned_(HasVersions(options.path)) {}

ModelKeeper::~ModelKeeper() {
  Stop();
  if (thread_.joinable()) thread_.join();
  yard_->Close();
}

absl::Status ModelKeeper::LoadFirst() {
  absl::Status problem = absl::NotFoundError("--model: no version");
  const std::vector<ModelVersion> found = Find();
  while (const ModelVersion* version = NextVersion(found, history_)) {
    absl::StatusOr<std::shared_ptr<ServedModel>> model = Load(*version);
    if (model.ok()) {
      history_.serving = *version;
      SetCurrent(*std::move(model));
      metrics_.ModelLoaded("ok");
      return absl::OkStatus();
    }
    if (history_.failed.empty()) problem = model.status();
    metrics_.ModelLoaded(NoteFailure(*version, model.status()));
  }
  return problem;
}

void ModelKeeper::Watch(SwitchTo switch_to, Publish publish) {
  switch_to_ = std::move(switch_to);
  publish_ = std::move(publish);
  thread_ = std::thread([this] { Run(); });
}

void ModelKeeper::Look() {
  MutexLock lock(&mutex_);
  look_ = true;
  changed_.NotifyAll();
}

bool ModelKeeper::Stop() {
  MutexLock lock(&mutex_);
  stop_ = true;
  changed_.NotifyAll();
  return !busy_;
}

std::shared_ptr<ServedModel> ModelKeeper::current() const {
  MutexLock lock(&mutex_);
  return current_;
}

void ModelKeeper::FreeReleased() {
  for (std::unique_ptr<ServedModel>& model : yard_->Take()) {
    const std::string version = model->encoder->Info().version;
    const std::string digest = model->encoder->Info().weights_digest;
    model.reset();
    log_.Info("model_released", {{"version", version}, {"digest", digest}});
  }
}

FftGuardCounts ModelKeeper::FftGuard() {
  // Let go of without the lock: the last holder of a model hands it to the yard.
  std::vector<std::shared_ptr<ServedModel>> alive;
  MutexLock lock(&mutex_);
  std::vector<Counted> kept;
  FftGuardCounts sum;
  for (Counted& counted : counted_) {
    if (auto model = counted.model.lock()) {
      counted.counts = model->encoder->FftGuard();
      Add(counted.counts, sum);
      alive.push_back(std::move(model));
      kept.push_back(std::move(counted));
    } else {
      Add(counted.counts, gone_counts_);
    }
  }
  counted_ = std::move(kept);
  Add(gone_counts_, sum);
  return sum;
}

void ModelKeeper::Run() {
  pthread_setname_np(pthread_self(), "model-keeper");
  Tell(nullptr);
  for (Wake wake = AwaitWake(); wake != Wake::kStop; wake = AwaitWake()) LookAround(wake);
}

ModelKeeper::Wake ModelKeeper::AwaitWake() {
  MutexLock lock(&mutex_);
  busy_ = false;
  const Instant due =
      options_.poll_seconds > 0 ? clock_.Now() + FromSeconds(options_.poll_seconds) : kNever;
  while (!stop_ && !look_ && clock_.Now() < due) {
    if (due == kNever) {
      changed_.Wait(&mutex_);
    } else {
      changed_.WaitUntil(&mutex_, due);
    }
  }
  if (stop_) return Wake::kStop;
  busy_ = true;
  return std::exchange(look_, false) ? Wake::kAsked : Wake::kPoll;
}

std::vector<ModelVersion> ModelKeeper::Find() const {
  if (versioned_) return ListVersions(options_.path);
  return {PlainVersion(options_.path)};
}

void ModelKeeper::LookAround(Wake wake) {
  std::vector<ModelVersion> found = Find();
  while (const ModelVersion* next = NextVersion(found, history_)) {
    const auto seen = seen_.find(next->path);
    // Who polls may come in the middle of a copy.
    const bool settled = seen != seen_.end() && seen->second == next->stamp;
    if (wake == Wake::kPoll && !settled) break;
    if (!Replace(*next)) return;
    found = Find();
  }
  seen_.clear();
  for (const ModelVersion& version : found) seen_[version.path] = version.stamp;
  const size_t failures = history_.failed.size();
  std::erase_if(history_.failed,
                [this](const auto& entry) { return !seen_.contains(entry.first); });
  if (history_.failed.size() != failures) Tell(nullptr);
}

bool ModelKeeper::Replace(const ModelVersion& version) {
  Tell(&version.name);
  log_.Info("model_loading", {{"version", NameOf(version)}});
  const Instant start = clock_.Now();
  absl::StatusOr<std::shared_ptr<ServedModel>> model = Load(version);
  const char* result = "ok";
  if (!model.ok()) {
    result = NoteFailure(version, model.status());
  } else {
    if (SameModel((*model)->encoder->Info(), current()->encoder->Info())) {
      result = "unchanged";
      log_.Info("model_unchanged", {{"version", NameOf(version)}});
    } else {
      if (!switch_to_(*model)) return false;
      LogSwitch(**model, ToSeconds(clock_.Now() - start));
      SetCurrent(*std::move(model));
    }
    history_.serving = version;
    history_.failed.erase(version.path);
  }
  Tell(nullptr);
  metrics_.ModelLoaded(result);  // last: who sees it sees the rest
  return true;
}

void ModelKeeper::LogSwitch(const ServedModel& model, double seconds) {
  const EncoderInfo& info = model.encoder->Info();
  const std::shared_ptr<ServedModel> old = current();
  const EncoderInfo& old_info = old->encoder->Info();
  const std::string differences = Differences(old_info, info);
  log_.Log(differences.empty() ? LogLevel::kInfo : LogLevel::kWarning, "model_switched",
           {{"version", info.version},
            {"digest", info.weights_digest},
            {"fingerprint", info.fingerprint},
            {"from_version", old_info.version},
            {"from_digest", old_info.weights_digest},
            {"differs_in", differences},
            {"seconds", seconds}});
}

absl::StatusOr<std::shared_ptr<ServedModel>> ModelKeeper::Load(const ModelVersion& version) {
  absl::StatusOr<std::unique_ptr<Encoder>> encoder = absl::UnknownError("not loaded");
  try {
    encoder = source_.load(At(options_, version), version.name, &metrics_, &log_);
  } catch (const std::bad_alloc&) {  // two versions need more than one
    return MakeError(ErrorReason::kOutOfMemory, "no memory for the model");
  }
  if (!encoder.ok()) return encoder.status();
  if (absl::Status status = CheckFits((*encoder)->Info()); !status.ok()) return status;
  return ModelYard::Share(yard_, std::make_unique<ServedModel>(*std::move(encoder)));
}

absl::Status ModelKeeper::CheckFits(const EncoderInfo& loaded) const {
  if (loaded.max_tokens > longest_sequence_) {
    return MakeError({.reason = ErrorReason::kRequestTooLarge,
                      .value = absl::StrCat(loaded.max_tokens, " tokens"),
                      .limit = absl::StrCat(longest_sequence_, " tokens")},
                     "its longest sequence is above what the port was opened for: restart to serve "
                     "it");
  }
  const std::shared_ptr<ServedModel> old = current();
  if (old == nullptr || old->encoder->Info().model == loaded.model) return absl::OkStatus();
  return MakeError({.reason = ErrorReason::kUnknownModel,
                    .value = loaded.model,
                    .limit = old->encoder->Info().model},
                   "it is another model, not another version of the one in service");
}

const char* ModelKeeper::NoteFailure(const ModelVersion& version, const absl::Status& problem) {
  history_.failed[version.path] = version.stamp;
  const ErrorReason reason = GetErrorDetails(problem).reason;
  const bool refused =
      reason == ErrorReason::kRequestTooLarge || reason == ErrorReason::kUnknownModel;
  log_.Error(refused ? "model_refused" : "model_failed",
             {{"version", NameOf(version)}, {"message", problem.message()}});
  return refused ? "refused" : "failed";
}

void ModelKeeper::SetCurrent(std::shared_ptr<ServedModel> model) {
  MutexLock lock(&mutex_);
  counted_.push_back({.model = model});
  current_.swap(model);  // the old one goes with the argument, without the lock
}

void ModelKeeper::Tell(const std::string* loading) const {
  std::vector<UnservedVersion> versions;
  if (loading != nullptr) versions.push_back({.version = *loading});
  for (const auto& [path, stamp] : history_.failed) {
    const std::string name = versioned_ ? path.substr(path.rfind('/') + 1) : "";
    if (loading == nullptr || name != *loading) versions.push_back({name, /*failed=*/true});
  }
  publish_(std::move(versions));
}

}  // namespace longwave
