#include "server/scheduling/executor.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"
#include "server/scheduling/draining_error.h"
#include "server/scheduling/status_copy.h"

namespace longwave {

Executor::Executor(const SchedulerOptions& options, RequestBook* book, const Clock* clock,
                   SchedulerObserver* observer)
    : options_(options),
      book_(*book),
      clock_(*clock),
      observer_(observer),
      max_stall_(FromSeconds(options.max_stall_seconds)) {}

bool Executor::RunOnce() {
  ReadMail();
  CheckHealth();
  EndDoomed(clock_.Now());
  Sweep();
  const StartRoom room = RoomFor(Held(), options_, book_.ImpatientPeak());
  const std::vector<Option> options = Options(room);
  if (options.empty()) return false;
  std::vector<SliceCandidate> candidates;
  candidates.reserve(options.size());
  for (const Option& option : options) candidates.push_back(option.candidate);
  const JobSelector::Choice choice = selector_.Choose(candidates, clock_.Now());
  const Option& chosen = options[choice.index];
  RunningJob* const job = chosen.job != nullptr ? chosen.job : StartJob(chosen.number, room);
  if (job != nullptr) RunSlice(*job, choice.turn);
  Sweep();
  return true;
}

void Executor::ReadMail() {
  const RequestBook::Mail mail = book_.TakeMail();
  if (mail.abandon) {
    EndEverything(DrainingError());
  }
  for (const auto& [ticket, reason] : mail.cancels) {
    EndWhere([&](const Sequence& sequence) {
      return sequence.ticket == ticket ? CopyStatus(reason) : absl::OkStatus();
    });
  }
  for (const auto& job : jobs_) {
    for (const RequestBook::Ticket ticket : mail.ready) {
      if (job->HasTicket(ticket)) job->Unblock();
    }
  }
}

void Executor::CheckHealth() {
  std::set<std::shared_ptr<ServedModel>> models = book_.WaitingModels();
  for (const auto& job : jobs_) models.insert(job->shared_model());
  for (const auto& model : models) CheckHealth(*model);
}

void Executor::CheckHealth(const ServedModel& model) {
  absl::Status health = model.encoder->Health();
  if (health.ok()) return;
  if (health.code() != absl::StatusCode::kUnavailable) {
    health = MakeError(ErrorReason::kDeviceLost, health.message());
  }
  EndWhere([&](const Sequence& sequence) {
    if (sequence.model.get() != &model) return absl::OkStatus();
    book_.Withdraw(sequence.ticket);
    return CopyStatus(health);
  });
  book_.EndModel(model, health);
}

void Executor::EndEverything(const absl::Status& reason) {
  EndWhere([&](const Sequence& sequence) {
    book_.Withdraw(sequence.ticket);
    return CopyStatus(reason);
  });
  book_.EndQueue(reason);
}

void Executor::EndDoomed(Instant now) {
  book_.EndExpired(now);
  for (const auto& job : jobs_) {
    if (job->NextDeadline() <= now) {
      job->EndWhere([&](const Sequence& sequence) {
        if (sequence.key.deadline > now) return absl::OkStatus();
        book_.Withdraw(sequence.ticket);
        return MakeError(ErrorReason::kDeadlineExpired, "the deadline passed while computing");
      });
    }
    EndStalled(*job, now);
  }
}

void Executor::EndStalled(RunningJob& job, Instant now) {
  if (!job.blocked() || now - job.stalled_since() < max_stall_) return;
  job.EndWhere([&](const Sequence& sequence) {
    book_.Withdraw(sequence.ticket);
    return MakeError({.reason = ErrorReason::kSlowReader,
                      .limit = absl::StrCat(options_.max_stall_seconds, " s")},
                     "the reader held up its computation for too long");
  });
}

void Executor::EndWhere(absl::FunctionRef<absl::Status(const Sequence&)> reason_for) {
  for (const auto& job : jobs_) job->EndWhere(reason_for);
}

HeldJobs Executor::Held() const {
  HeldJobs held;
  for (const auto& job : jobs_) {
    ++held.jobs;
    held.bytes += job->peak_bytes();
    if (job->alone()) {
      held.long_bytes += job->peak_bytes();
      if (job->blocked()) held.blocked_bytes += job->peak_bytes();
    } else {
      ++held.batches;
    }
  }
  return held;
}

std::vector<Executor::Option> Executor::Options(const StartRoom& room) {
  std::vector<Option> options;
  for (const auto& job : jobs_) {
    if (job->blocked()) continue;
    options.push_back({.candidate = job->candidate(), .job = job.get()});
    options.back().candidate.waited = slices_ - job->last_slice;
  }
  for (const RequestBook::Head& head : book_.StartableHeads(room, clock_.Now())) {
    options.push_back({.candidate = head.candidate, .number = head.number});
  }
  return options;
}

RunningJob* Executor::StartJob(uint64_t number, const StartRoom& room) {
  Sequences members = book_.TakeBatch(number, room, clock_.Now());
  if (members.empty()) return nullptr;  // cancelled a moment ago
  jobs_.push_back(std::make_unique<RunningJob>(std::move(members), &clock_));
  RunningJob& job = *jobs_.back();
  if (observer_ != nullptr) observer_->OnBatch(job.sequences(), job.tokens());
  if (absl::Status status = job.Begin(); !status.ok()) {
    OnError(job, std::move(status));
    return nullptr;
  }
  return &job;
}

void Executor::RunSlice(RunningJob& job, JobSelector::Turn turn) {
  Publish(/*stepping=*/true);
  const double before = job.spent_seconds();
  if (observer_ != nullptr) observer_->OnSliceStart();
  absl::StatusOr<EncodeJob::State> state = job.Step();
  job.last_slice = ++slices_;
  if (observer_ != nullptr) observer_->OnSlice(job.spent_seconds() - before);
  const std::vector<FlowPart> served = job.LastParts();
  selector_.Ran(served, turn);
  book_.Serve(served);
  if (!state.ok()) {
    OnError(job, std::move(state).status());
  } else if (*state == EncodeJob::State::kDone) {
    OnDone(job);
  }
}

void Executor::OnError(RunningJob& job, absl::Status status) {
  const bool out_of_memory = GetErrorDetails(status).reason == ErrorReason::kOutOfMemory;
  if (out_of_memory && job.sequences() > 1) {
    Sequences members = job.TakeActive();
    for (auto& member : members) member->alone = true;
    book_.Requeue(std::move(members));
    return;
  }
  if (!job.model().encoder->Health().ok()) return CheckHealth(job.model());
  job.EndWhere([&](const Sequence& sequence) {
    book_.Withdraw(sequence.ticket);
    return CopyStatus(status);
  });
}

void Executor::OnDone(RunningJob& job) {
  if (job.whole() && !job.HasActive()) {
    job.ObserveCost();
    if (observer_ != nullptr) {
      observer_->OnJobEnd(job.tokens(), job.predicted_seconds(), job.spent_seconds());
    }
  }
  job.EndWhere([](const Sequence& sequence) {
    return MakeError(ErrorReason::kInternal, "the encoder ended the job without a result");
  });
}

void Executor::Sweep() {
  Sequences ended;
  for (const auto& job : jobs_) {
    for (auto& sequence : job->TakeEnded()) ended.push_back(std::move(sequence));
  }
  std::erase_if(jobs_, [](const auto& job) { return !job->HasActive(); });
  Publish(/*stepping=*/false);
  book_.Close(ended);  // last: whoever awaits the end of the last one sees the counts at zero
}

void Executor::AddRunning(const RunningJob& job, RequestBook::ExecutorState& state) {
  const double left = job.left_seconds();
  state.running_seconds += left;
  double whole = 0;
  for (const FlowPart& part : job.parts()) whole += part.seconds;
  for (const FlowPart& part : job.parts()) {
    const double share = whole > 0 ? part.seconds / whole : 0;
    state.running.push_back(
        {.flow = part.flow, .finish = job.candidate().key.finish, .seconds = left * share});
  }
}

void Executor::Publish(bool stepping) {
  RequestBook::ExecutorState state;
  state.paused_jobs = static_cast<int64_t>(jobs_.size()) - (stepping ? 1 : 0);
  state.slices = slices_;
  for (const auto& job : jobs_) {
    state.resident_bytes += job->ResidentBytes();
    AddRunning(*job, state);
    state.next_event = std::min(state.next_event, job->NextDeadline());
    if (job->blocked()) {
      state.next_event = std::min(state.next_event, job->stalled_since() + max_stall_);
    }
  }
  book_.Publish(std::move(state));
}

}  // namespace longwave
