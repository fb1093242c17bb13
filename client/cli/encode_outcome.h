#ifndef LONGWAVE_CLIENT_CLI_ENCODE_OUTCOME_H_
#define LONGWAVE_CLIENT_CLI_ENCODE_OUTCOME_H_

#include "absl/status/status.h"
#include "client/cli/report.h"
#include "client/row_reader.h"
#include "longwave/v1/encode.pb.h"

namespace longwave::cli {

// Whether the same document may be taken later: false where the failure is known to be its own.
// With --resume such a failure ends the run, since the document's place in the output would be
// taken by what comes behind it.
bool MayPass(const absl::Status& status);

// Into a document's report: the server's times, and what a stream that has ended says of itself.
void NoteTimes(const v1::StageTimings& timings, DocumentReport* report);
void NoteStream(const client::RowReader& reader, DocumentReport* report);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_ENCODE_OUTCOME_H_
