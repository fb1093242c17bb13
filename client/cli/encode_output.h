#ifndef LONGWAVE_CLIENT_CLI_ENCODE_OUTPUT_H_
#define LONGWAVE_CLIENT_CLI_ENCODE_OUTPUT_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/arguments.h"
#include "client/cli/journal.h"
#include "client/cli/report.h"
#include "client/cli/row_writer.h"
#include "client/client.h"

namespace longwave::cli {

// Where `encode` and `stream` put rows: nowhere, into a file that appears when it is whole, into a
// pipe, or (--resume) into a kept file beside a journal of what is done.
//
// The order of the disk: rows are made durable before the journal names them, so that whatever the
// journal names is there, and what lies behind is cut off.
class EncodeOutput {
 public:
  // `arguments` and `out` (for "-") outlive it.
  EncodeOutput(const EncodeArguments& arguments, std::ostream& out)
      : arguments_(arguments), out_(out) {}

  // With --resume: looks at what an earlier process left. FAILED_PRECONDITION: it belongs to
  // another run.
  absl::Status Prepare(const v1::Model& model);

  // Takes what an earlier process did with the next document. nullopt: nothing, or a part.
  // FAILED_PRECONDITION: it was another document, or there was none, and the output is whole.
  absl::StatusOr<std::optional<DocumentReport>> TakeDone(const Document& document);
  // There is no further document. FAILED_PRECONDITION: an earlier process had one.
  absl::Status CheckAllTaken() const;
  // The rows that it has of the document that comes now, as its last record.
  const std::optional<JournalRecord>& partial() const { return partial_; }

  bool wanted() const { return !arguments_.output.empty(); }
  int64_t rows() const { return writer_ == nullptr ? 0 : writer_->rows(); }
  absl::Status Begin(DocumentRows document);
  // Behind the rows of partial().
  absl::Status BeginAgain(DocumentRows document);
  absl::Status Add(absl::Span<const float> values);
  void End();
  absl::Status Abandon();

  // The next document is done; into the journal with the next Sync.
  absl::Status NoteDone(const Document& document, const DocumentReport& report);
  // So far it is; into the journal if some time has passed.
  absl::Status NotePartial(const Document& document, const DocumentReport& report,
                           const client::StreamShape& shape);
  // The same at once: the document's rest is left to a later process.
  absl::Status KeepPartial(const Document& document, const DocumentReport& report,
                           const client::StreamShape& shape);
  absl::Status Sync();
  // The file appears, and the journal goes.
  absl::Status Finish(const OutputProperties& properties);
  // Nothing is worth keeping: nothing is left.
  absl::Status Discard();

 private:
  absl::Status EnsureWriter();
  // FAILED_PRECONDITION: what lies where rows are to be kept is nobody's that is known.
  absl::Status CheckNothingLost() const;
  // What to do about a run that is not as it was.
  std::string HowToBeginAnew() const;
  absl::Status Load(const std::vector<JournalRecord>& records);
  // Opens the kept file up to what the journal names.
  absl::StatusOr<std::unique_ptr<OutputFile>> OpenKept(int64_t bytes);

  const EncodeArguments& arguments_;
  std::ostream& out_;
  std::unique_ptr<RowWriter> writer_;  // made when the first rows are there
  std::unique_ptr<Journal> journal_;   // with --resume
  std::vector<JournalRecord> done_;    // of earlier processes
  size_t taken_ = 0;                   // of those
  std::optional<JournalRecord> partial_;
  // An earlier process has done everything, and was stopped before the journal was gone.
  bool finished_ = false;
  std::vector<JournalRecord> waiting_;  // not in the journal yet
  int64_t begin_bytes_ = 0;             // of the document begun
  std::chrono::steady_clock::time_point noted_{};
};

// What must be the same for rows of two runs to go into one file.
Journal::Identity RunIdentity(const EncodeArguments& arguments, const v1::Model& model);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_ENCODE_OUTPUT_H_
