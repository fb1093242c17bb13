#include "tests/simulation/history_checker.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

class Checker {
 public:
  explicit Checker(const History& history) : history_(history) {}

  std::vector<std::string> Check() {
    for (size_t i = 0; i < history_.sequences.size(); ++i) {
      CheckEnds(i);
      CheckCause(i);
    }
    CheckSteps();
    CheckBounds();
    CheckPromptness();
    CheckOrder();
    CheckWaiting();
    CheckIdleness();
    CheckCounts();
    return std::move(problems_);
  }

 private:
  template <typename... Parts>
  void Broken(const Parts&... parts) {
    problems_.push_back(absl::StrCat(parts...));
  }

  void CheckEnds(size_t index) {
    const SequenceHistory& sequence = history_.sequences[index];
    const int expected = sequence.accepted ? 1 : 0;
    if (sequence.ends != expected) {
      Broken("I1: sequence ", index, " ended ", sequence.ends, " times, not ", expected);
    }
    if (sequence.called_after_end) Broken("I1: sequence ", index, " was called after its end");
    if (sequence.ok && !sequence.rows_right) {
      Broken("I2: sequence ", index, " is OK with rows that are not its own");
    }
    if (sequence.accepted && sequence.submitted >= history_.drain_began) {
      Broken("I5: sequence ", index, " was accepted after the drain began");
    }
    if (sequence.accepted && sequence.deadline <= sequence.submitted) {
      Broken("I9: sequence ", index, " was accepted after its deadline");
    }
  }

  void CheckCause(size_t index) {
    const SequenceHistory& sequence = history_.sequences[index];
    if (!sequence.accepted && !MayRefuse(sequence)) {
      Broken("I9: sequence ", index, " was refused with ", ErrorReasonName(sequence.refusal),
             " without that cause");
    }
    if (sequence.ends == 0 || sequence.ok) return;
    if (!HasCause(sequence)) {
      Broken("I9: sequence ", index, " ended with ", ErrorReasonName(sequence.reason),
             " without that cause");
    }
  }

  bool MayRefuse(const SequenceHistory& sequence) const {
    switch (sequence.refusal) {
      case ErrorReason::kDeadlineExpired:
        return sequence.deadline <= sequence.submitted;
      case ErrorReason::kDeadlineUnmeetable:
        return sequence.deadline != kNever && sequence.deadline > sequence.submitted;
      case ErrorReason::kQuotaExceeded:
        return sequence.has_quota;
      case ErrorReason::kExceedsGrace:
        return history_.options.admission.max_job_seconds > 0;
      case ErrorReason::kDraining:
        return sequence.submitted >= history_.drain_began;
      case ErrorReason::kDeviceLost:
        return history_.device_may_fail;
      case ErrorReason::kQueueFull:
      case ErrorReason::kMemoryFull:
        return true;
      default:
        return false;
    }
  }

  bool HasCause(const SequenceHistory& sequence) const {
    switch (sequence.reason) {
      case ErrorReason::kDeadlineExpired:
        return sequence.deadline <= sequence.ended;
      case ErrorReason::kCancelled:
        return sequence.cancelled <= sequence.ended;
      case ErrorReason::kDraining:
        return history_.abandoned <= sequence.ended;
      case ErrorReason::kSlowReader:
        return sequence.streamed && sequence.last_taken != kNever &&
               sequence.ended - sequence.last_taken >=
                   FromSeconds(history_.options.max_stall_seconds);
      case ErrorReason::kOutOfMemory:
      case ErrorReason::kNonFinite:
      case ErrorReason::kInternal:
      case ErrorReason::kDeviceLost:
        return history_.device_may_fail;
      default:
        return false;
    }
  }

  void CheckSteps() {
    for (size_t s = 0; s < history_.steps.size(); ++s) {
      const StepHistory& step = history_.steps[s];
      if (step.members.empty()) Broken("I3: step ", s, " serves nobody");
      for (const int64_t member : step.members) {
        const SequenceHistory& sequence = history_.sequences[member];
        if (sequence.deadline <= step.began) {
          Broken("I3: step ", s, " began for sequence ", member, " after its deadline");
        }
        if (sequence.cancelled < step.began) {
          Broken("I3: step ", s, " began for sequence ", member, ", which was cancelled");
        }
        if (sequence.ended < step.began) {
          Broken("I3: step ", s, " began for sequence ", member, ", which had ended");
        }
      }
    }
  }

  void CheckBounds() {
    const SchedulerOptions& options = history_.options;
    for (size_t r = 0; r < history_.rounds.size(); ++r) {
      const SchedulerView& view = history_.rounds[r].view;
      // A batch that ran out of memory waits again, on top of what was admitted in its place.
      const int64_t again = history_.device_may_fail ? options.max_batch_sequences : 0;
      const int64_t tokens_again = history_.device_may_fail ? options.max_batch_tokens : 0;
      if (view.queued_sequences > options.admission.max_queue_sequences + again ||
          view.queued_tokens > options.admission.max_queue_tokens + tokens_again) {
        Broken("I4: the queue is over its bound in round ", r);
      }
    }
    CheckHostBytes();
    for (size_t j = 0; j < history_.jobs.size(); ++j) {
      const JobHistory& job = history_.jobs[j];
      const int64_t share = options.max_resident_bytes / 8;
      if (job.live_jobs > 1 && job.held_bytes > options.max_resident_bytes + share) {
        Broken("I4: job ", j, " began with ", job.held_bytes, " bytes held");
      }
      if (job.live_jobs > options.max_paused_jobs + 1) {
        Broken("I4: job ", j, " began with ", job.live_jobs, " jobs held");
      }
      int64_t tokens = 0;
      for (const int64_t member : job.members) tokens += history_.sequences[member].tokens;
      if (job.members.size() > 1 &&
          (tokens > options.max_batch_tokens ||
           static_cast<int>(job.members.size()) > options.max_batch_sequences)) {
        Broken("I4: job ", j, " is larger than a batch may be");
      }
    }
  }

  // Whenever a request is let in, the memory of all that are surely open is within its bound.
  void CheckHostBytes() {
    std::map<int64_t, const SequenceHistory*> last;  // of each accepted request to end
    for (const SequenceHistory& sequence : history_.sequences) {
      if (!sequence.accepted) continue;
      const SequenceHistory*& known = last[sequence.request];
      if (known == nullptr || known->ended < sequence.ended) known = &sequence;
    }
    for (const auto& [request, entered] : last) {
      int64_t bytes = entered->request_bytes;
      for (const auto& [other, open] : last) {
        if (other < request && open->ended > entered->submitted) bytes += open->request_bytes;
      }
      if (bytes > history_.options.admission.max_host_bytes) {
        Broken("I4: request ", request, " was let in with ", bytes, " bytes of the host taken");
      }
    }
  }

  // What was doomed when a round began has ended before the round's slice.
  void CheckPromptness() {
    for (size_t i = 0; i < history_.sequences.size(); ++i) {
      const SequenceHistory& sequence = history_.sequences[i];
      if (!sequence.accepted) continue;
      // A cancellation at the instant of a round may have come after it.
      const Instant doomed =
          std::min(sequence.deadline,
                   sequence.cancelled == kNever ? kNever : sequence.cancelled + Nanoseconds(1));
      if (doomed == kNever) continue;
      const auto round =
          std::lower_bound(history_.rounds.begin(), history_.rounds.end(), doomed,
                           [](const RoundHistory& r, Instant when) { return r.began < when; });
      if (round != history_.rounds.end() && sequence.ended > round->began) {
        Broken("I9: sequence ", i, " was doomed and did not end at the next slice");
      }
    }
  }

  void CheckOrder() {
    // Of sequences that are alike in all that decides the order, the later one does not begin
    // first. (Where predictions are corrected on the way, the later one may be believed shorter.)
    if (!history_.predictions_hold) return;
    using Kind = std::tuple<Priority, std::string, int64_t, bool, Instant>;
    std::map<Kind, Instant> last_popped;
    for (size_t i = 0; i < history_.sequences.size(); ++i) {
      const SequenceHistory& sequence = history_.sequences[i];
      if (!sequence.accepted || sequence.popped == Instant{}) continue;
      if (RequestSize(sequence.request) != 1) continue;
      const Kind kind = {sequence.priority, sequence.tenant, sequence.tokens, sequence.streamed,
                         sequence.deadline};
      Instant& last = last_popped[kind];
      if (sequence.popped < last) Broken("I7: sequence ", i, " overtook one that is like it");
      last = std::max(last, sequence.popped);
    }
  }

  int64_t RequestSize(int64_t request) {
    if (request_sizes_.empty()) {
      for (const SequenceHistory& sequence : history_.sequences) ++request_sizes_[sequence.request];
    }
    return request_sizes_[request];
  }

  // A job that is not blocked goes on at least once per nine slices of others; of several such
  // jobs, each in its turn.
  void CheckWaiting() {
    std::map<int64_t, size_t> last_step;  // of jobs that may go on
    std::map<int64_t, int> most_live;     // since then
    for (size_t s = 0; s < history_.steps.size(); ++s) {
      const StepHistory& step = history_.steps[s];
      for (auto& [job, live] : most_live) live = std::max(live, step.live_jobs);
      const auto last = last_step.find(step.job);
      if (last != last_step.end()) {
        const size_t others = s - last->second - 1;
        if (others > static_cast<size_t>(10 * (most_live[step.job] - 1))) {
          Broken("I7: job ", step.job, " waited for ", others, " slices of others");
        }
      }
      if (step.blocked) {
        last_step.erase(step.job);
      } else {
        last_step[step.job] = s;
      }
      most_live[step.job] = step.live_jobs;
    }
  }

  // The executor rests only if nothing can run.
  void CheckIdleness() {
    for (size_t r = 0; r < history_.rounds.size(); ++r) {
      const RoundHistory& round = history_.rounds[r];
      if (!round.ran && round.live_jobs == 0 && round.view.queued_sequences > 0) {
        Broken("I7: round ", r, " rests though sequences wait and no job is held");
      }
    }
  }

  void CheckCounts() {
    const SchedulerView& view = history_.last_view;
    if (view.queued_sequences != 0 || view.queued_tokens != 0 || view.running_sequences != 0 ||
        view.paused_jobs != 0 || view.resident_bytes != 0 || view.queued_seconds != 0 ||
        view.running_seconds != 0 || history_.live_jobs_at_end != 0) {
      Broken("I6: counts do not return to zero");
    }
    if (history_.slices_observed != static_cast<int64_t>(history_.steps.size())) {
      Broken("I8: ", history_.slices_observed, " slices observed, ", history_.steps.size(), " run");
    }
    if (history_.batches_observed < static_cast<int64_t>(history_.jobs.size())) {
      Broken("I8: fewer batches observed than begun");
    }
  }

  const History& history_;
  std::map<int64_t, int64_t> request_sizes_;
  std::vector<std::string> problems_;
};

}  // namespace

std::vector<std::string> CheckHistory(const History& history) { return Checker(history).Check(); }

}  // namespace longwave
