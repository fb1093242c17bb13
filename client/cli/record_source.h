#ifndef LONGWAVE_CLIENT_CLI_RECORD_SOURCE_H_
#define LONGWAVE_CLIENT_CLI_RECORD_SOURCE_H_

#include <cstdint>
#include <istream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/cli/document_maker.h"

namespace longwave::cli {

enum class InputFormat {
  kAuto,   // by the file's name, see FormatOfPath; standard input is text
  kText,   // a file is a document
  kLines,  // a line is a document; empty lines are passed over
  kJsonl,  // a line is {"id": ..., "text": "..."} or {"id": ..., "token_ids": [...]}
  kIds,    // a line is a document: token ids, separated by blanks or commas
  kFasta,  // a record is a document, see fasta_source.h
  kNpy,    // an array of ids is a document, or each row of one, see npy_source.h
};
absl::StatusOr<InputFormat> ParseInputFormat(absl::string_view name);
// The words that ParseInputFormat knows.
std::vector<std::string> InputFormatNames();
// By the name's ending, in capitals too; never kAuto.
InputFormat FormatOfPath(absl::string_view path);

// Reads the documents of one open input one after the other.
class RecordSource {
 public:
  virtual ~RecordSource() = default;
  // nullopt after the last. A record that cannot be a document has a status, and the source goes
  // on behind it where the format tells where that is. An input that cannot be read to its end ends
  // with a record whose status says so (CannotRead).
  virtual std::optional<Document> Next() = 0;
};

// `in` and `maker` outlive the source. Precondition: format is not kAuto.
std::unique_ptr<RecordSource> MakeRecordSource(InputFormat format, const std::string& name,
                                               std::istream& in, const DocumentMaker& maker);

// Ids separated by blanks or commas.
absl::StatusOr<std::vector<uint32_t>> ParseIds(absl::string_view text);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_RECORD_SOURCE_H_
