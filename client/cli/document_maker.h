#ifndef LONGWAVE_CLIENT_CLI_DOCUMENT_MAKER_H_
#define LONGWAVE_CLIENT_CLI_DOCUMENT_MAKER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/chunking.h"
#include "client/cli/tokenizer.h"
#include "client/options.h"

namespace longwave::cli {

// One input, ready to be encoded, or what is wrong with it.
struct Document {
  std::string name;
  absl::Status status;
  std::vector<uint32_t> ids;
  std::vector<client::TokenSpan> spans;  // one vector each; sequence is 0
  bool chunked = false;                  // the spans were made from ChunkOptions
};

// Which parts of documents are wanted as vectors.
struct SpanOptions {
  bool wanted = false;                   // false: none, whatever else is here
  std::vector<client::TokenSpan> spans;  // of every document
  ChunkOptions chunks;                   // unless there are `spans`
};

// What a document's own record says of its spans; it goes before SpanOptions. At most one is not
// empty.
struct OwnSpans {
  std::vector<client::TokenSpan> tokens;
  std::vector<client::TokenSpan> characters;  // begin and end count code points of the text
};

// Makes ids and spans of what was read.
class DocumentMaker {
 public:
  // `tokenizer` outlives the maker.
  DocumentMaker(const Tokenizer* tokenizer, SpanOptions options)
      : tokenizer_(tokenizer), options_(std::move(options)) {}

  bool wants_spans() const { return options_.wanted; }
  // Sets status, ids and spans of a document.
  void FromText(const std::string& text, const OwnSpans& own, Document* document) const;
  void FromIds(std::vector<uint32_t> ids, const OwnSpans& own, Document* document) const;

 private:
  // Whether SpanOptions::chunks decide.
  bool Chunked(const OwnSpans& own) const;
  absl::StatusOr<std::vector<client::TokenSpan>> SpansOfText(const std::string& text,
                                                             const TokenizedText& tokens,
                                                             const OwnSpans& own) const;
  absl::StatusOr<std::vector<client::TokenSpan>> SpansOfIds(size_t ids, const OwnSpans& own) const;

  const Tokenizer* const tokenizer_;
  const SpanOptions options_;
};

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_DOCUMENT_MAKER_H_
