#include "client/cli/encode_outcome.h"

#include <algorithm>
#include <initializer_list>

#include "absl/strings/string_view.h"
#include "client/cli/names.h"
#include "client/error_info.h"

namespace longwave::cli {
namespace {

double Milliseconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) * 1e3 + duration.nanos() / 1e6;
}

}  // namespace

bool MayPass(const absl::Status& status) {
  // Whatever is not known to be the document's own fault may pass: a key that ran out, a proxy that
  // answers for the server, a file that is locked.
  const client::ErrorInfo info = client::GetErrorInfo(status);
  const auto is_any_of = [&info](std::initializer_list<absl::string_view> reasons) {
    return std::find(reasons.begin(), reasons.end(), info.reason) != reasons.end();
  };
  switch (status.code()) {
    case absl::StatusCode::kOk:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return false;
    case absl::StatusCode::kInternal:
      // Values that are no numbers come of the document, and would come again.
      return !is_any_of({"NON_FINITE", "DEGENERATE_DENOMINATOR"});
    case absl::StatusCode::kResourceExhausted:
      // Too long for this server's device or memory, unless it names a time to come again.
      return info.retry_after.has_value() || !is_any_of({"OUT_OF_MEMORY", "MEMORY_FULL"});
    case absl::StatusCode::kFailedPrecondition:
      return !is_any_of({"EXCEEDS_GRACE", "ROUTE_NOT_EXACT"});
    default:
      return true;
  }
}

void NoteTimes(const v1::StageTimings& timings, DocumentReport* report) {
  report->queue_ms = Milliseconds(timings.queue());
  report->compute_ms = Milliseconds(timings.compute());
  report->total_ms = Milliseconds(timings.total());
}

void NoteStream(const client::RowReader& reader, DocumentReport* report) {
  const v1::StreamDone& done = reader.summary();
  report->resumes = reader.resumes();
  if (done.sequences_size() > 0) {
    report->tokens_used = done.sequences(0).tokens_used();
    report->truncated = done.sequences(0).truncated();
    report->route = RouteName(done.sequences(0).route());
  }
  NoteTimes(done.timings(), report);
}

}  // namespace longwave::cli
