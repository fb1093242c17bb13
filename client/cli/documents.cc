#include "client/cli/documents.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/read_error.h"

namespace longwave::cli {

DocumentReader::DocumentReader(const std::vector<std::string>& inputs, ReadOptions options,
                               const Tokenizer* tokenizer, std::istream& standard_input)
    : inputs_(ListInputs(inputs, options.filter)),
      format_(options.format),
      maker_(tokenizer, std::move(options.spans)),
      standard_input_(standard_input) {}

std::optional<Document> DocumentReader::Next() {
  while (true) {
    if (source_ != nullptr) {
      if (auto document = source_->Next(); document.has_value()) return document;
      source_.reset();
      file_.close();
    }
    if (next_input_ == inputs_.size()) return std::nullopt;
    const InputFile& input = inputs_[next_input_++];
    if (absl::Status opened = Open(input); !opened.ok()) {
      return Document{.name = input.path, .status = std::move(opened)};
    }
  }
}

absl::Status DocumentReader::Open(const InputFile& input) {
  if (!input.status.ok()) return input.status;
  std::istream* in = &standard_input_;
  if (input.path != "-") {
    file_.close();
    file_.clear();
    file_.open(input.path, std::ios::binary);
    if (!file_) {
      return CannotRead(input.path, std::strerror(errno));
    }
    in = &file_;
  }
  const InputFormat format = format_ == InputFormat::kAuto ? FormatOfPath(input.path) : format_;
  // Arrays have magic bytes of their own, and theirs are taken from the file itself.
  if (format != InputFormat::kNpy) {
    in = &fronted_.emplace(*in).stream();
    if (const auto how = CompressionOf(fronted_->front()); !how.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(input.path, ": the input is compressed (", how, "); decompress it first"));
    }
  }
  source_ = MakeRecordSource(format, input.path, *in, maker_);
  return absl::OkStatus();
}

}  // namespace longwave::cli
