#ifndef LONGWAVE_CLIENT_CLI_ENCODE_COMMAND_H_
#define LONGWAVE_CLIENT_CLI_ENCODE_COMMAND_H_

#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "client/cli/arguments.h"
#include "client/cli/documents.h"
#include "client/cli/exit_code.h"
#include "client/cli/progress_bar.h"
#include "client/cli/report.h"
#include "client/cli/row_writer.h"
#include "client/client.h"

namespace longwave::cli {

// `longwave encode`: reads documents, encodes short ones together and long ones as streams, writes
// their rows as they come, and tells of each.
class EncodeCommand {
 public:
  // The streams outlive the command.
  EncodeCommand(EncodeArguments arguments, std::istream& in, std::ostream& out, std::ostream& err);

  ExitCode Run();

 private:
  // Connects, asks for the model, opens what is needed. kExitOk: go on.
  ExitCode Prepare();
  ExitCode CheckTokenizer(const Tokenizer& tokenizer);
  // False: no further document is to be tried.
  bool Take(Document document);
  bool EncodeWaiting();
  bool EncodeStreamed(const Document& document);
  absl::Status ReadRows(client::RowReader& reader, DocumentReport* report);
  bool NeedsStream(const Document& document) const;

  void FillReport(const absl::StatusOr<client::EncodeResult>& result, size_t sequence,
                  DocumentReport* report);
  // One output, one set of weights.
  absl::Status CheckDigest(const std::string& digest) const;
  // The rows of one document, all at once.
  absl::Status WriteRows(absl::Span<const float> values, int64_t dim, DocumentReport* report);
  absl::Status EnsureWriter();
  void NoteRows(absl::Span<const float> values, DocumentReport* report);
  // Ends a document: into the report, and told of if it failed. False as Take.
  bool Record(DocumentReport report);
  void Complain(const std::string& name, const absl::Status& status);
  ExitCode Finish();

  EncodeArguments arguments_;
  std::istream& in_;
  std::ostream& out_;
  std::ostream& err_;
  ProgressBar progress_;

  std::unique_ptr<client::Client> client_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<RowWriter> writer_;  // made when the first rows are there
  EncodeReport report_;
  std::vector<Document> waiting_;  // short documents, to be encoded together, and failed ones
  int64_t waiting_tokens_ = 0;
  absl::Status broken_;         // not OK: the output cannot be written
  absl::Status first_failure_;  // of a document
  bool input_failed_ = false;   // a document could not be read
  bool server_gone_ = false;
};

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_ENCODE_COMMAND_H_
