#include "client/cli/encode_outcome.h"

#include <string>

#include "client/cli/names.h"
#include "client/error_info.h"

namespace longwave::cli {
namespace {

double Milliseconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) * 1e3 + duration.nanos() / 1e6;
}

}  // namespace

bool MayPass(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kAborted:
      return true;
    case absl::StatusCode::kInternal: {
      // Values that are no numbers come of the document, and would come again.
      const std::string reason = client::GetErrorInfo(status).reason;
      return reason != "NON_FINITE" && reason != "DEGENERATE_DENOMINATOR";
    }
    case absl::StatusCode::kResourceExhausted:
      return client::GetErrorInfo(status).retry_after.has_value();
    default:
      return client::GetErrorInfo(status).reason == "MODEL_CHANGED";
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
