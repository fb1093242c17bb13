#ifndef LONGWAVE_CLIENT_CLI_TOKENIZER_H_
#define LONGWAVE_CLIENT_CLI_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace longwave::cli {

struct TokenizedText {
  std::vector<uint32_t> ids;
  // Where the text of each token begins, in bytes, ascending; empty unless asked for.
  std::vector<uint32_t> begins;
};

// Text to token ids.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // As models name it in GetModel.tokenizer_kind.
  virtual std::string kind() const = 0;
  // INVALID_ARGUMENT for a text that is too long (4 GiB) or that the tokenizer cannot take.
  virtual absl::StatusOr<TokenizedText> Tokenize(const std::string& text,
                                                 bool with_begins) const = 0;
  absl::StatusOr<std::vector<uint32_t>> Encode(const std::string& text) const;
};

// "byte": ids are the bytes. Anything else is the path of a SentencePiece model.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(const std::string& name);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_TOKENIZER_H_
