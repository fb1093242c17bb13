#ifndef LONGWAVE_CLIENT_CLI_DOCUMENTS_H_
#define LONGWAVE_CLIENT_CLI_DOCUMENTS_H_

#include <cstdint>
#include <fstream>
#include <istream>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/cli/tokenizer.h"

namespace longwave::cli {

enum class InputFormat {
  kAuto,   // by the file's name: .jsonl, .ndjson -> JSONL; .ids -> ids; else text
  kText,   // a file is a document
  kLines,  // a line is a document; empty lines are passed over
  kJsonl,  // a line is {"id": ..., "text": "..."} or {"id": ..., "token_ids": [...]}
  kIds,    // a line is a document: token ids, separated by blanks or commas
};
absl::StatusOr<InputFormat> ParseInputFormat(absl::string_view name);

// One input, ready to be encoded, or what is wrong with it.
struct Document {
  std::string name;
  absl::Status status;
  std::vector<uint32_t> ids;
};

// Reads the documents of several inputs one after the other, so that only the current one is in
// memory. "-" is standard input.
class DocumentReader {
 public:
  // `tokenizer` outlives the reader.
  DocumentReader(std::vector<std::string> inputs, InputFormat format, const Tokenizer* tokenizer,
                 std::istream& standard_input);

  // The next document; nullopt after the last. A document that cannot be read has a status, and
  // the reader goes on behind it.
  std::optional<Document> Next();

 private:
  std::optional<Document> NextOfInput();
  bool OpenNextInput(Document* failed);
  Document ReadWhole();
  Document ParseLine(const std::string& line);
  void ParseJson(const std::string& line, Document* document);

  const std::vector<std::string> inputs_;
  const InputFormat wanted_format_;
  const Tokenizer* const tokenizer_;
  std::istream& standard_input_;

  size_t next_input_ = 0;
  std::string name_;  // of the open input
  InputFormat format_ = InputFormat::kText;
  std::istream* stream_ = nullptr;  // null: none is open
  std::ifstream file_;
  int64_t line_number_ = 0;
};

// Ids separated by blanks or commas.
absl::StatusOr<std::vector<uint32_t>> ParseIds(absl::string_view text);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_DOCUMENTS_H_
