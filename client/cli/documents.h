#ifndef LONGWAVE_CLIENT_CLI_DOCUMENTS_H_
#define LONGWAVE_CLIENT_CLI_DOCUMENTS_H_

#include <fstream>
#include <istream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/cli/compression.h"
#include "client/cli/document_maker.h"
#include "client/cli/input_list.h"
#include "client/cli/record_source.h"
#include "client/cli/tokenizer.h"

namespace longwave::cli {

struct ReadOptions {
  InputFormat format = InputFormat::kAuto;
  FileFilter filter;
  SpanOptions spans;
};

// Reads the documents of several inputs one after the other, so that only the current one is in
// memory. "-" is standard input; a directory stands for the files in it.
class DocumentReader {
 public:
  // `tokenizer` outlives the reader.
  DocumentReader(const std::vector<std::string>& inputs, ReadOptions options,
                 const Tokenizer* tokenizer, std::istream& standard_input);

  // The next document; nullopt after the last. A document that cannot be read has a status, and
  // the reader goes on behind it.
  std::optional<Document> Next();

 private:
  absl::Status Open(const InputFile& input);

  const std::vector<InputFile> inputs_;
  const InputFormat format_;
  const DocumentMaker maker_;
  std::istream& standard_input_;

  size_t next_input_ = 0;
  std::ifstream file_;
  std::optional<FrontedInput> fronted_;
  std::unique_ptr<RecordSource> source_;  // null: none is open
};

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_DOCUMENTS_H_
