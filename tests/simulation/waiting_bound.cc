#include "tests/simulation/waiting_bound.h"

#include <algorithm>
#include <map>
#include <string>

#include "server/scheduling/job_selector.h"
#include "tests/simulation/simulated_world.h"

namespace longwave {
namespace {

constexpr double kSliceSeconds = SimulatedWorld::kSecondsPerToken * SimulatedWorld::kTokensPerSlice;
constexpr double kOutOfTurn = 11.0 / 9;

double WorkOf(const SequenceHistory& sequence) {
  return SimulatedWorld::kSecondsPerToken * static_cast<double>(sequence.tokens);
}

// One sequence between its arrival and its beginning, or its end if it never began.
class Waiting {
 public:
  Waiting(const History& history, const SequenceHistory& self)
      : history_(history),
        self_(self),
        begin_(self.submitted),
        end_(self.popped == Instant{} ? self.ended : self.popped) {
    for (const SequenceHistory& other : history_.sequences) {
      if (other.request == self_.request) request_work_ += WorkOf(other);
      if (!InFlow(other) || !Meets(other)) continue;
      most_bytes_ = std::max(most_bytes_, other.peak_bytes);
      needs_place_of_its_own_ = needs_place_of_its_own_ || other.alone;
    }
    // What is tried again rides alone.
    needs_place_of_its_own_ = needs_place_of_its_own_ || history_.device_may_fail;
  }

  // It began at once.
  bool never() const { return end_ <= begin_; }

  double Seconds() const {
    double seconds = 0;
    const std::vector<StepHistory>& steps = history_.steps;
    auto step = std::lower_bound(steps.begin(), steps.end(), begin_,
                                 [](const StepHistory& s, Instant when) { return s.began < when; });
    for (; step != steps.end() && step->began < end_; ++step) {
      // More than a slice is no work, but what failed and was skipped.
      if (HadRoom(*step)) seconds += std::min(step->work_seconds, kSliceSeconds);
    }
    return seconds;
  }

  double Bound() const {
    std::map<std::string, double> shares;
    bool other_class = false;
    for (const SequenceHistory& other : history_.sequences) {
      if (!Meets(other)) continue;
      if (other.priority == self_.priority) {
        shares[other.tenant] = other.share;
      } else {
        other_class = true;
      }
    }
    double sum = 0;
    for (const auto& [tenant, share] : shares) sum += share;
    const double of_class = self_.priority == Priority::kInteractive ? 0.9 : 0.1;
    const auto others = static_cast<double>(shares.size() - 1);
    const auto [least, most] = PredictedPerWork();
    const double in_class = (OwnSeconds() + 2 * kSliceSeconds) * sum / self_.share +
                            others * (kSliceSeconds + JobSelector::kSavedSeconds / least);
    return kSliceSeconds + most / least * kOutOfTurn * in_class / (other_class ? of_class : 1);
  }

 private:
  bool InFlow(const SequenceHistory& other) const {
    return other.priority == self_.priority && other.tenant == self_.tenant;
  }
  bool Meets(const SequenceHistory& other) const {
    return other.accepted && other.ended > begin_ && other.submitted < end_;
  }

  bool MayGoBefore(const SequenceHistory& other) const {
    if (other.request <= self_.request || other.deadline != kNever || !other.alone) return true;
    double work = 0;
    for (const SequenceHistory& member : history_.sequences) {
      if (member.request == other.request) work += WorkOf(member);
    }
    return work <= request_work_;
  }

  double OwnSeconds() const {
    double own = 0;
    double failed = 0;
    for (const SequenceHistory& other : history_.sequences) {
      if (&other == &self_ || other.priority != self_.priority || !other.accepted) continue;
      // The class is charged for it too, whosever it was.
      if (other.popped != Instant{} && !other.ok && other.ended < end_) failed += WorkOf(other);
      if (!InFlow(other)) continue;
      if (Meets(other) && MayGoBefore(other)) own += WorkOf(other);
    }
    return (history_.device_may_fail ? 2 : 1) * own + failed;
  }

  // The cost model's seconds for a second of work, the least and the most.
  std::pair<double, double> PredictedPerWork() const {
    double least = 1;
    double most = 1;
    bool any = false;
    for (const SequenceHistory& other : history_.sequences) {
      if (!other.accepted || other.predicted_seconds <= 0) continue;
      const auto [low, high] = std::minmax(other.predicted_seconds, other.predicted_shared_seconds);
      least = any ? std::min(least, low / WorkOf(other)) : low / WorkOf(other);
      most = any ? std::max(most, high / WorkOf(other)) : high / WorkOf(other);
      any = true;
    }
    return {least, most};
  }

  // Before the step any sequence of the flow could have begun.
  bool HadRoom(const StepHistory& step) const {
    const SchedulerOptions& options = history_.options;
    const int held = step.live_jobs - (step.first ? 1 : 0);
    if (held == 0) return true;
    int64_t bytes = step.held_bytes + most_bytes_;
    if (step.first) {
      for (const int64_t member : history_.jobs[step.job].members) {
        bytes -= history_.sequences[member].peak_bytes;
      }
    }
    // Long ones leave the last place, and an eighth of the memory, to batches.
    if (!needs_place_of_its_own_) {
      return held <= options.max_paused_jobs && bytes <= options.max_resident_bytes;
    }
    return held < options.max_paused_jobs && bytes <= options.max_resident_bytes / 8 * 7;
  }

  const History& history_;
  const SequenceHistory& self_;
  const Instant begin_;
  const Instant end_;
  double request_work_ = 0;
  int64_t most_bytes_ = 0;  // of one sequence of the flow
  bool needs_place_of_its_own_ = false;
};

}  // namespace

QueueWait WaitOf(const History& history, size_t index) {
  const SequenceHistory& self = history.sequences[index];
  if (!self.accepted) return {};
  const Waiting waiting(history, self);
  if (waiting.never()) return {};
  return {.seconds = waiting.Seconds(), .bound = waiting.Bound()};
}

}  // namespace longwave
