#include "server/rpc/unary_request.h"

#include <algorithm>
#include <utility>

#include "model/base/error.h"
#include "server/admission/validator.h"
#include "server/rpc/caller.h"
#include "server/rpc/sequence_work.h"
#include "server/rpc/unary_terms.h"

namespace longwave {
namespace {

// The same refusal for a caller that has been refused before, perhaps by this port: clients that do
// not watch health choose among replicas by turns, and after four attempts they give up. So the
// next one is to come when this port is closed, however short the jitter makes its wait.
absl::Status PutOff(const absl::Status& refusal) {
  ErrorDetails details = GetErrorDetails(refusal);
  if (details.reason != ErrorReason::kDraining) return refusal;
  details.retry_after = kLongestUnrest * 5 / 4;
  return MakeError(details, refusal.message());
}

}  // namespace

// Packs the rows of one sequence into its part of the reply.
class UnaryRequest::Consumer final : public SequenceConsumer {
 public:
  Consumer(std::shared_ptr<UnaryRequest> request, size_t sequence, int64_t first_row)
      : request_(std::move(request)), sequence_(sequence), first_row_(first_row) {}

  RowSink::Answer OnRows(int64_t first_row, RowBlock rows) override {
    request_->rows_->Put(first_row_ + first_row, rows);
    return RowSink::Answer::kTaken;
  }
  void OnEnd(absl::StatusOr<SequenceReport> result, const SequenceTimes& times) override {
    // The scheduler may keep the consumer for a while; the request must not wait for that.
    std::shared_ptr<UnaryRequest> request = std::move(request_);
    request->SequenceEnded(sequence_, std::move(result), times);
  }

 private:
  std::shared_ptr<UnaryRequest> request_;
  const size_t sequence_;
  const int64_t first_row_;
};

UnaryRequest::UnaryRequest(ServiceCore* core, std::unique_ptr<UnaryFormat> format,
                           TraceContext trace)
    : core_(core),
      format_(std::move(format)),
      recorder_(format_->method(), core, std::move(trace)) {}

void UnaryRequest::Start(grpc::ByteBuffer* bytes, Origin origin, Done done) {
  done_ = std::move(done);
  tenant_ = std::move(origin.tenant);
  {
    MutexLock lock(&mutex_);
    recorder_.SetTenant(tenant_.get());
  }
  format_->Peek(bytes);
  absl::Status status = Admit(bytes, origin);
  bytes->Clear();
  if (!status.ok()) Fail(status);
}

void UnaryRequest::Refuse(grpc::ByteBuffer* bytes, const absl::Status& error, Done done) {
  done_ = std::move(done);
  format_->Peek(bytes);
  bytes->Clear();
  Fail(error);
}

absl::Status UnaryRequest::Admit(grpc::ByteBuffer* bytes, const Origin& origin) {
  if (absl::Status status = Enter(origin); !status.ok()) return status;
  absl::StatusOr<EncodeRequestData> data =
      format_->Read(bytes, backend_.encoder().Info(), core_->options().limits);
  if (!data.ok()) return data.status();
  {
    MutexLock lock(&mutex_);
    recorder_.trace().decoded = recorder_.Now();
  }
  if (data->timeout.has_value()) {
    absl::Status status = LimitTime(core_->clock().Now() + *data->timeout);
    if (!status.ok()) return status;
  }
  absl::Status claim = CheckTenantField(core_->authenticator(), tenant_.get(), data->tenant);
  if (!claim.ok()) return claim;
  absl::StatusOr<ValidatedRequest> valid =
      ValidateEncodeRequest(*data, backend_.encoder(), core_->options().limits,
                            [this](const ValidatedRequest& request) { return Foresee(request); });
  if (!valid.ok()) return valid.status();
  format_->Release();  // the ids are in `valid` now
  Prepare(*valid);
  return Submit(*std::move(valid));
}

absl::Status UnaryRequest::Enter(const Origin& origin) {
  if (origin.attempts_before > 0 && core_->metrics() != nullptr) {
    core_->metrics()->Retried(origin.attempts_before);
  }
  absl::StatusOr<Backend> backend = core_->Enter();
  if (!backend.ok()) {
    return origin.attempts_before > 0 ? PutOff(backend.status()) : backend.status();
  }
  backend_ = *backend;
  deadline_ = core_->clock().Now() + FromSeconds(core_->options().max_deadline_seconds);
  return LimitTime(origin.deadline);
}

absl::Status UnaryRequest::LimitTime(Instant latest) {
  deadline_ = std::min(deadline_, latest);
  if (deadline_ > core_->clock().Now()) return absl::OkStatus();
  return MakeError(ErrorReason::kDeadlineExpired, "the deadline had passed on arrival");
}

RequestTerms UnaryRequest::Terms(const ValidatedRequest& request) const {
  RequestTerms terms = UnaryTerms(request, deadline_, tenant_);
  terms.reply = reply_memory_;
  return terms;
}

absl::Status UnaryRequest::Foresee(const ValidatedRequest& request) {
  // What is refused now has no reply allocated, nor (where the format need not) ids copied; its
  // record says what it was.
  absl::Status verdict =
      backend_.scheduler->Foresee(*backend_.model, WorkOf(request), Terms(request)).verdict;
  if (verdict.ok()) return verdict;
  Describe(request);
  return verdict;
}

void UnaryRequest::Prepare(const ValidatedRequest& request) {
  request_id_ = request.request_id;
  rows_.emplace(request.dtype, request.total_rows, request.row_dim);
  Describe(request);
  MutexLock lock(&mutex_);
  unfinished_ = request.sequences.size();
}

void UnaryRequest::Describe(const ValidatedRequest& request) {
  for (const ValidatedSequence& sequence : request.sequences) {
    summaries_.push_back({.tokens_in = sequence.tokens_in,
                          .tokens_used = sequence.tokens_used,
                          .truncated = sequence.truncated,
                          .rows = sequence.output.RowCount(sequence.tokens_used)});
  }
  MutexLock lock(&mutex_);
  recorder_.Describe(request, summaries_);
}

absl::Status UnaryRequest::Submit(ValidatedRequest request) {
  const RequestTerms terms = Terms(request);
  std::vector<SequenceTask> tasks;
  tasks.reserve(request.sequences.size());
  int64_t first_row = 0;
  for (size_t s = 0; s < request.sequences.size(); ++s) {
    ValidatedSequence& sequence = request.sequences[s];
    tasks.push_back({.model = backend_.model,
                     .token_ids = std::move(sequence.token_ids),
                     .output = std::move(sequence.output),
                     .route = request.route,
                     .consumer = std::make_shared<Consumer>(shared_from_this(), s, first_row)});
    first_row += summaries_[s].rows;
  }
  {
    // Before the hand-over, since the first sequence may be popped before Submit returns.
    MutexLock lock(&mutex_);
    recorder_.Admitted(recorder_.Now());
  }
  absl::StatusOr<Scheduler::Ticket> ticket = backend_.scheduler->Submit(std::move(tasks), terms);
  absl::Status error;
  {
    MutexLock lock(&mutex_);
    if (!ticket.ok()) {
      recorder_.NotAdmitted();
      return ticket.status();
    }
    ticket_ = *ticket;
    error = error_;
  }
  // A sequence that failed in between could not cancel its mates, nor a caller who left its
  // request.
  if (!error.ok()) backend_.scheduler->Cancel(*ticket, error);
  return absl::OkStatus();
}

void UnaryRequest::Cancel(const absl::Status& reason) {
  std::optional<Scheduler::Ticket> ticket;
  {
    MutexLock lock(&mutex_);
    ticket = ticket_;
    if (!ticket.has_value() && error_.ok()) error_ = reason;
  }
  if (ticket.has_value()) backend_.scheduler->Cancel(*ticket, reason);
}

void UnaryRequest::SequenceEnded(size_t sequence, absl::StatusOr<SequenceReport> result,
                                 const SequenceTimes& times) {
  SequenceSummary& summary = summaries_[sequence];
  summary.times = times;
  std::optional<Scheduler::Ticket> doomed;
  absl::Status error;
  bool last = false;
  {
    MutexLock lock(&mutex_);
    if (result.ok()) {
      summary.report = *result;
      recorder_.MergeSequence(summary);
    } else if (error_.ok()) {
      error_ = std::move(result).status();
      error = error_;
      doomed = ticket_;
    }
    last = --unfinished_ == 0;
  }
  if (last) {
    Reply();
  } else if (doomed.has_value()) {
    // A unary reply has all sequences or none: the others are not wanted any more.
    backend_.scheduler->Cancel(*doomed, error);
  }
}

void UnaryRequest::Reply() {
  absl::Status error;
  {
    MutexLock lock(&mutex_);
    error = error_;
  }
  if (!error.ok()) {
    Fail(error);
    return;
  }
  // While others wait, the thread that computed the rows has better to do. A request that is alone
  // would only wait for one more thread to wake.
  if (core_->open_requests() > 1) {
    core_->replies().Post([request = shared_from_this()] { request->Answer(); });
  } else {
    Answer();
  }
}

void UnaryRequest::Answer() {
  StageTimes stages;
  const UnaryReply reply{.info = backend_.encoder().Info(),
                         .request_id = request_id_,
                         .rows = *rows_,
                         .sequences = summaries_};
  grpc::ByteBuffer bytes = format_->Write(reply, [&] { return stages = Stamp(); });
  Tell({.status = absl::OkStatus(), .reply = std::move(bytes), .stages = stages});
}

StageTimes UnaryRequest::Stamp() {
  MutexLock lock(&mutex_);
  recorder_.trace().serialised = recorder_.Now();
  const StageTimes stages = recorder_.Finish();
  recorder_.End(absl::OkStatus());
  return stages;
}

void UnaryRequest::Fail(const absl::Status& error) {
  format_->Release();
  {
    MutexLock lock(&mutex_);
    recorder_.End(error);
  }
  Tell({.status = format_->Translate(error)});
}

void UnaryRequest::Tell(Outcome outcome) {
  const Done done = std::move(done_);  // it may hold the call, which holds this
  done(std::move(outcome));
}

}  // namespace longwave
