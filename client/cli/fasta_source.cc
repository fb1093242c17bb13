#include "client/cli/fasta_source.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/read_error.h"

namespace longwave::cli {
namespace {

bool IsHeader(const std::string& line) { return !line.empty() && line[0] == '>'; }

}  // namespace

bool FastaSource::ReadLine() {
  while (std::getline(in_, line_)) {
    ++line_number_;
    if (line_.empty() || line_[0] == ';') continue;
    if (!absl::StripAsciiWhitespace(line_).empty()) return true;
  }
  return false;
}

std::string FastaSource::NameOf(absl::string_view header) const {
  const absl::string_view words = absl::StripAsciiWhitespace(header.substr(1));
  size_t end = 0;
  while (end < words.size() && !absl::ascii_isspace(words[end])) ++end;
  // ">  text": a header without an id has its description set off.
  const bool has_id = header.size() > 1 && !absl::ascii_isspace(header[1]) && end > 0;
  return has_id ? std::string(words.substr(0, end)) : absl::StrCat(name_, ":", line_number_);
}

absl::Status FastaSource::AppendSequence(std::string* sequence) const {
  for (const char c : line_) {
    if (absl::ascii_isspace(c)) continue;
    if (!absl::ascii_isalpha(c) && c != '-' && c != '.' && c != '*') {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s:%d: byte 0x%02x is none of a sequence (letters, - . *)", name_,
                          line_number_, static_cast<uint8_t>(c)));
    }
    sequence->push_back(c);
  }
  return absl::OkStatus();
}

std::optional<Document> FastaSource::Next() {
  if (!std::exchange(have_line_, false) && !ReadLine()) {
    if (!in_.bad() || std::exchange(told_, true)) return std::nullopt;
    return Document{.name = absl::StrCat(name_, ":", line_number_ + 1),
                    .status = CannotRead(name_, std::strerror(errno))};
  }
  Document document{.name = absl::StrCat(name_, ":", line_number_)};
  const int64_t first_line = line_number_;
  std::string sequence;
  if (IsHeader(line_)) {
    document.name = NameOf(line_);
  } else {
    document.status = absl::InvalidArgumentError(absl::StrCat(
        name_, ":", line_number_, ": there is sequence before the first header (>id)"));
  }
  while (ReadLine() && !(have_line_ = IsHeader(line_))) {
    if (document.status.ok()) document.status = AppendSequence(&sequence);
  }
  if (in_.bad()) {
    // How much is missing of this record nobody knows.
    document.status = CannotRead(name_, std::strerror(errno));
    told_ = true;
  }
  if (!document.status.ok()) return document;
  if (!sequence.empty() && sequence.back() == '*') sequence.pop_back();
  if (sequence.empty()) {
    document.status = absl::InvalidArgumentError(
        absl::StrCat(name_, ":", first_line, ": the record has no sequence"));
    return document;
  }
  maker_.FromText(sequence, {}, &document);
  return document;
}

}  // namespace longwave::cli
