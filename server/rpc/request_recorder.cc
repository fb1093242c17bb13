#include "server/rpc/request_recorder.h"

#include <algorithm>
#include <utility>

#include "model/base/error.h"

namespace longwave {
namespace {

double Milliseconds(Nanoseconds duration) { return ToSeconds(duration) * 1e3; }

// Faults of ours are errors; refusals and what callers did are not.
LogLevel LevelOf(absl::StatusCode code, bool wanted) {
  switch (code) {
    case absl::StatusCode::kOk:
      return wanted ? LogLevel::kInfo : LogLevel::kDebug;
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kUnknown:
      return LogLevel::kError;
    default:
      return LogLevel::kInfo;
  }
}

}  // namespace

RequestRecorder::RequestRecorder(RpcMethod method, ServiceCore* core, TraceContext context)
    : core_(core), context_(std::move(context)) {
  core_->RequestStarted();
  record_.method = method;
  trace_.arrived = Now();
  if (core_->metrics() != nullptr) core_->metrics()->RequestStarted(method);
}

RequestRecorder::~RequestRecorder() {
  End(MakeError(ErrorReason::kInternal, "the request was left without an answer"));
}

void RequestRecorder::Describe(const ValidatedRequest& request,
                               absl::Span<const SequenceSummary> sequences) {
  record_.priority = request.priority == Priority::kBatch ? "batch" : "interactive";
  record_.tokens = request.total_tokens;
  for (const SequenceSummary& sequence : sequences) {
    record_.longest_sequence = std::max(record_.longest_sequence, sequence.tokens_used);
  }
  request_id_ = request.request_id;
}

void RequestRecorder::Admitted(Instant when) {
  trace_.admitted = when;
  record_.admitted = true;
}

void RequestRecorder::MergeSequence(const SequenceSummary& summary) {
  const SequenceTimes& times = summary.times;
  trace_.MergeSequence(times.popped, times.first_step, times.last_row);
  if (summary.tokens_used > longest_computed_) {
    longest_computed_ = summary.tokens_used;
    record_.route = RouteName(summary.report.route);
  }
}

StageTimes RequestRecorder::Finish() {
  if (trace_.finished == Instant{}) trace_.finished = Now();
  return trace_.Stages();
}

void RequestRecorder::End(const absl::Status& status) {
  if (ended_) return;
  ended_ = true;
  core_->RequestEnded();
  record_.code = status.code();
  if (!status.ok()) record_.reason = GetErrorDetails(status).reason;
  record_.stages = Finish();
  if (core_->metrics() != nullptr) core_->metrics()->RequestEnded(record_);
  Log(status);
}

void RequestRecorder::Log(const absl::Status& status) const {
  const RequestLogging wanted = core_->options().log_requests;
  const LogLevel level =
      LevelOf(record_.code, wanted == RequestLogging::kAll ||
                                (wanted == RequestLogging::kSampled && context_.sampled));
  if (core_->log() == nullptr || !core_->log()->Takes(level)) return;
  const StageTimes& stages = record_.stages;
  // Texts about a caller's mistake may quote its input, and inputs are not logged.
  const absl::string_view message =
      level == LogLevel::kError
          ? absl::string_view(status.message().data(), status.message().size())
          : absl::string_view();
  core_->log()->Log(
      level, "request",
      {{"method", RpcMethodName(record_.method)},
       {"code", absl::StatusCodeToString(record_.code)},
       {"reason", status.ok() ? absl::string_view() : ErrorReasonName(record_.reason)},
       {"message", message},
       {"trace_id", context_.trace_id},
       {"span_id", NewSpanId()},
       {"parent_span_id", context_.parent_span_id},
       {"sampled", context_.sampled},
       {"tenant", tenant_},
       {"request_id", request_id_},
       {"tokens", record_.tokens},
       {"route", record_.route},
       {"queue_ms", Milliseconds(stages.queue)},
       {"compute_ms", Milliseconds(stages.compute)},
       {"total_ms", Milliseconds(stages.total)}});
}

}  // namespace longwave
