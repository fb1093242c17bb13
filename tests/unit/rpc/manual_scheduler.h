#ifndef LONGWAVE_TESTS_UNIT_RPC_MANUAL_SCHEDULER_H_
#define LONGWAVE_TESTS_UNIT_RPC_MANUAL_SCHEDULER_H_

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "model/base/mutex.h"
#include "server/scheduling/scheduler.h"

namespace longwave {

// A scheduler that does nothing by itself: the test plays the executor. Thread-safe.
class ManualScheduler final : public Scheduler {
 public:
  struct Request {
    Ticket ticket = 0;
    std::vector<SequenceTask> tasks;
    RequestTerms terms;
  };

  // The next Submit fails with this.
  void RefuseNext(absl::Status status) {
    MutexLock lock(&mutex_);
    refusal_ = std::move(status);
  }
  // What Foresee says of every request from now on.
  void ForeseeNow(absl::Status verdict) {
    MutexLock lock(&mutex_);
    verdict_ = std::move(verdict);
  }
  // Waits until `count` requests were submitted since the start, and returns the last of them.
  Request& AwaitSubmitted(size_t count) {
    MutexLock lock(&mutex_);
    while (requests_.size() < count) changed_.Wait(&mutex_);
    return *requests_[count - 1];
  }
  // Waits until a request was cancelled, and returns why.
  absl::Status AwaitCancelled(Ticket ticket) {
    MutexLock lock(&mutex_);
    while (cancelled_.count(ticket) == 0) changed_.Wait(&mutex_);
    return cancelled_[ticket];
  }
  // Waits for the `count`-th OnSinkReady since the start.
  void AwaitReady(size_t count) {
    MutexLock lock(&mutex_);
    while (ready_.size() < count) changed_.Wait(&mutex_);
  }
  size_t submitted() {
    MutexLock lock(&mutex_);
    return requests_.size();
  }
  size_t ready_calls() {
    MutexLock lock(&mutex_);
    return ready_.size();
  }

  // Ends a sequence, unless it has ended. Called on the test's thread.
  void End(Request& request, size_t sequence, absl::StatusOr<SequenceReport> result,
           const SequenceTimes& times = {}) {
    std::shared_ptr<SequenceConsumer> consumer;
    {
      MutexLock lock(&mutex_);
      consumer = std::move(request.tasks[sequence].consumer);
    }
    if (consumer != nullptr) consumer->OnEnd(std::move(result), times);
  }

  absl::StatusOr<Ticket> Submit(std::vector<SequenceTask> tasks,
                                const RequestTerms& terms) override {
    MutexLock lock(&mutex_);
    if (!refusal_.ok()) return std::exchange(refusal_, absl::OkStatus());
    requests_.push_back(std::make_unique<Request>(
        Request{.ticket = requests_.size() + 1, .tasks = std::move(tasks), .terms = terms}));
    changed_.NotifyAll();
    return requests_.back()->ticket;
  }
  // What the encoder says, three seconds of wait, and the verdict that was set.
  Forecast Foresee(const ServedModel& model, absl::Span<const SequenceWork> shapes,
                   const RequestTerms& terms) const override {
    MutexLock lock(&mutex_);
    Forecast forecast{.wait_seconds = 3, .verdict = verdict_};
    for (const SequenceWork& shape : shapes) {
      const CostPrediction cost = model.encoder->Predict(shape.tokens, *shape.output, shape.route);
      forecast.seconds += cost.seconds;
      forecast.peak_bytes = std::max(forecast.peak_bytes, cost.peak_bytes);
      forecast.slices += cost.slices;
      forecast.routes = {cost.route};
    }
    return forecast;
  }
  void Cancel(Ticket ticket, absl::Status reason) override {
    Request* request = nullptr;
    {
      MutexLock lock(&mutex_);
      request = requests_[ticket - 1].get();
      cancelled_.emplace(ticket, reason);
      changed_.NotifyAll();
    }
    for (size_t s = 0; s < request->tasks.size(); ++s) End(*request, s, reason);
  }
  void OnSinkReady(Ticket ticket) override {
    MutexLock lock(&mutex_);
    ready_.push_back(ticket);
    changed_.NotifyAll();
  }
  SchedulerView View() const override { return {.queued_seconds = 2, .running_seconds = 1}; }
  void BeginDrain() override {}
  bool AwaitIdle(Instant deadline) override { return true; }

 private:
  mutable Mutex mutex_;
  CondVar changed_;
  absl::Status refusal_ ABSL_GUARDED_BY(mutex_);
  absl::Status verdict_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<Request>> requests_ ABSL_GUARDED_BY(mutex_);
  std::map<Ticket, absl::Status> cancelled_ ABSL_GUARDED_BY(mutex_);
  std::vector<Ticket> ready_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_RPC_MANUAL_SCHEDULER_H_
