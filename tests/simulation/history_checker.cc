#include "tests/simulation/history_checker.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/simulation/waiting_bound.h"

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
    CheckStarvation();
    CheckIdleness();
    CheckCounts();
    CheckObserver();
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
        // Stalls add up, and what these readers take makes good for next to nothing.
        return sequence.streamed && sequence.last_taken != kNever &&
               sequence.ended - sequence.submitted >=
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
    for (size_t m = 0; m < history_.moments.size(); ++m) {
      const SchedulerView& view = history_.moments[m].view;
      // A batch that ran out of memory waits again, on top of what was admitted in its place.
      const int64_t again = history_.device_may_fail ? options.max_batch_sequences : 0;
      const int64_t tokens_again = history_.device_may_fail ? options.max_batch_tokens : 0;
      if (view.queued_sequences > options.admission.max_queue_sequences + again ||
          view.queued_tokens > options.admission.max_queue_tokens + tokens_again) {
        Broken("I4: the queue is over its bound at moment ", m);
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
      if (job.members.size() > 1 &&
          (TokensOf(job) > options.max_batch_tokens ||
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

  // Of requests that are alike in all that decides the order, the later one does not begin first.
  // Where predictions are corrected between the two, only as a mate: it may be believed to fit into
  // a batch where the other one did not.
  void CheckOrder() {
    using Kind =
        std::tuple<Priority, std::string, bool, Instant, std::vector<std::pair<int64_t, bool>>>;
    std::map<Kind, std::vector<size_t>> earlier;  // the first sequences of requests of the kind
    const std::vector<SequenceHistory>& sequences = history_.sequences;
    size_t end = 0;
    for (size_t begin = 0; begin < sequences.size(); begin = end) {
      const SequenceHistory& first = sequences[begin];
      std::vector<std::pair<int64_t, bool>> items;
      for (end = begin; end < sequences.size() && sequences[end].request == first.request; ++end) {
        items.emplace_back(sequences[end].tokens, sequences[end].alone);
      }
      if (!first.accepted) continue;
      std::vector<size_t>& alike =
          earlier[{first.priority, first.tenant, first.streamed, first.deadline, std::move(items)}];
      for (const size_t other : alike) {
        for (size_t s = begin; s < end; ++s) CheckPair(other + (s - begin), s);
      }
      alike.push_back(begin);
    }
  }

  // Of two alike the first came earlier.
  void CheckPair(size_t first, size_t second) {
    const SequenceHistory& one = history_.sequences[first];
    const SequenceHistory& two = history_.sequences[second];
    if (one.popped == Instant{} || two.popped == Instant{} || two.popped >= one.popped) return;
    const bool predicted_alike =
        history_.predictions_hold || (one.predicted_seconds == two.predicted_seconds &&
                                      one.predicted_shared_seconds == two.predicted_shared_seconds);
    // With a deadline, how long it will take decides when it is due.
    if (!predicted_alike && (two.deadline != kNever || BeganAsMate(second))) return;
    Broken("I7: sequence ", second, " overtook ", first, ", which is like it");
  }

  bool BeganAsMate(size_t index) const {
    for (const JobHistory& job : history_.jobs) {
      const auto member = std::find(job.members.begin(), job.members.end(), index);
      if (member != job.members.end()) return member != job.members.begin();
    }
    return false;
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

  // Nothing waits in the queue for longer than the rules allow.
  void CheckStarvation() {
    for (size_t i = 0; i < history_.sequences.size(); ++i) {
      const QueueWait wait = WaitOf(history_, i);
      if (wait.seconds > wait.bound) {
        Broken("I7: sequence ", i, " waited for ", wait.seconds, " s of others' work, more than ",
               wait.bound, " s");
      }
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
    for (size_t m = 0; m < history_.moments.size(); ++m) CheckMoment(m);
  }

  // accepted = ok + errors + in flight, after whatever was done last.
  void CheckMoment(size_t number) {
    const Moment& moment = history_.moments[number];
    if (moment.abandoned) return;
    const SchedulerView& view = moment.view;
    const int64_t open = moment.accepted - moment.ok - moment.errors;
    if (view.queued_sequences + view.running_sequences != open) {
      Broken("I8: at moment ", number, " ", open, " sequences are open, not ",
             view.queued_sequences, " queued and ", view.running_sequences, " running");
    }
    if (view.running_sequences != moment.computed) {
      Broken("I8: at moment ", number, " ", view.running_sequences, " sequences run, of which ",
             moment.computed, " are computed");
    }
    if (view.queued_tokens != moment.open_tokens - moment.computed_tokens) {
      Broken("I8: at moment ", number, " ", view.queued_tokens, " tokens are queued, not ",
             moment.open_tokens - moment.computed_tokens);
    }
  }

  void CheckObserver() {
    const Observed& observed = history_.observed;
    bool agree = observed.batches.size() == history_.jobs.size();
    for (size_t j = 0; agree && j < history_.jobs.size(); ++j) {
      const auto sequences = static_cast<int>(history_.jobs[j].members.size());
      agree = observed.batches[j].sequences == sequences &&
              observed.batches[j].tokens == TokensOf(history_.jobs[j]);
    }
    if (!agree) Broken("I8: the batches observed are not those that began");

    agree = observed.slices.size() == history_.steps.size() &&
            observed.slice_starts == static_cast<int64_t>(history_.steps.size());
    for (size_t s = 0; agree && s < history_.steps.size(); ++s) {
      const StepHistory& step = history_.steps[s];
      agree = Same(observed.slices[s], ToSeconds(step.ended - step.began));
    }
    if (!agree) Broken("I8: the slices observed are not those that ran");

    agree = observed.job_ends.size() == history_.whole_jobs.size();
    for (size_t e = 0; agree && e < history_.whole_jobs.size(); ++e) {
      const JobHistory& job = history_.jobs[history_.whole_jobs[e]];
      agree = observed.job_ends[e].tokens == TokensOf(job) &&
              Same(observed.job_ends[e].seconds, job.seconds);
    }
    if (!agree) Broken("I8: the ends of jobs observed are not those that came");
  }

  // But for the rounding of sums.
  static bool Same(double seconds, double other) { return std::abs(seconds - other) < 1e-9; }

  int64_t TokensOf(const JobHistory& job) const {
    int64_t tokens = 0;
    for (const int64_t member : job.members) tokens += history_.sequences[member].tokens;
    return tokens;
  }

  const History& history_;
  std::vector<std::string> problems_;
};

}  // namespace

std::vector<std::string> CheckHistory(const History& history) { return Checker(history).Check(); }

}  // namespace longwave
