#ifndef LONGWAVE_CLIENT_CLI_ENCODE_COMMAND_H_
#define LONGWAVE_CLIENT_CLI_ENCODE_COMMAND_H_

#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/cli/arguments.h"
#include "client/cli/documents.h"
#include "client/cli/encode_output.h"
#include "client/cli/exit_code.h"
#include "client/cli/progress_bar.h"
#include "client/cli/report.h"
#include "client/client.h"

namespace longwave::cli {

// `longwave encode` and `longwave stream`: reads documents, encodes short ones together and long
// ones as streams, writes their rows as they come, and tells of each.
class EncodeCommand {
 public:
  // The streams outlive the command.
  EncodeCommand(EncodeArguments arguments, std::istream& in, std::ostream& out, std::ostream& err);

  ExitCode Run();

 private:
  // Connects, asks for the model, opens what is needed. kExitOk: go on.
  ExitCode Prepare();
  ExitCode Connect();
  // Before the output's own files are there.
  void ListInputs();
  ExitCode CheckTokenizer(const Tokenizer& tokenizer);
  // All documents. kExitOk: to Finish.
  ExitCode EncodeAll();
  // False: no further document is to be tried.
  bool Take(Document document);
  bool EncodeWaiting();
  bool EncodeStreamed(const Document& document);
  absl::Status BeginStream(const Document& document, const client::StreamShape& shape,
                           DocumentReport* report);
  absl::Status ReadRows(const Document& document, client::RowReader& reader,
                        DocumentReport* report);
  bool NeedsStream(const Document& document) const;
  // Where the server will cut tokens off, chunks do not reach.
  void ClipChunks(Document* document) const;

  void FillReport(const Document& document, const absl::StatusOr<client::EncodeResult>& result,
                  size_t sequence, DocumentReport* report);
  client::EncodeOptions OptionsFor(absl::Span<const Document* const> documents) const;
  // One output, one set of weights.
  absl::Status CheckDigest(const std::string& digest) const;
  // The rows of one document, all at once.
  absl::Status WriteRows(const Document& document, absl::Span<const float> values, int64_t dim,
                         DocumentReport* report);
  void NoteRows(absl::Span<const float> values, DocumentReport* report);
  // Ends a document: into the report, and told of if it failed. False as Take.
  bool Record(const Document& document, DocumentReport report);
  // Makes what was recorded outlive this process. False as Take.
  bool Sync();
  void Complain(const std::string& name, const absl::Status& status);
  ExitCode Finish();
  ExitCode Stop();
  void PrintReport();

  EncodeArguments arguments_;
  std::istream& in_;
  std::ostream& out_;
  std::ostream& err_;
  ProgressBar progress_;

  std::unique_ptr<client::Client> client_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<DocumentReader> reader_;
  EncodeOutput output_;
  EncodeReport report_;
  std::vector<Document> waiting_;  // short documents, to be encoded together, and failed ones
  int64_t waiting_tokens_ = 0;
  absl::Status broken_;         // not OK: the output cannot be written
  absl::Status first_failure_;  // of a document
  bool input_failed_ = false;   // a document could not be read
  bool server_gone_ = false;
  // With --resume: after a failure that may pass nothing behind it is tried; how the run ends.
  std::optional<ExitCode> stopped_;
};

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_ENCODE_COMMAND_H_
