#include "client/cli/documents.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace longwave::cli {
namespace {

using nlohmann::json;

InputFormat FormatOf(const std::string& path) {
  if (absl::EndsWith(path, ".jsonl") || absl::EndsWith(path, ".ndjson")) return InputFormat::kJsonl;
  if (absl::EndsWith(path, ".ids")) return InputFormat::kIds;
  return InputFormat::kText;
}

absl::Status Unreadable(const std::string& path, const std::string& why) {
  return absl::NotFoundError(absl::StrCat("cannot read ", path, ": ", why));
}

absl::StatusOr<std::vector<uint32_t>> IdsOfJson(const json& list) {
  std::vector<uint32_t> ids;
  ids.reserve(list.size());
  for (const json& id : list) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > std::numeric_limits<uint32_t>::max()) {
      return absl::InvalidArgumentError(
          absl::StrCat("token_ids[", ids.size(), "] is not a token id"));
    }
    ids.push_back(id.get<uint32_t>());
  }
  return ids;
}

}  // namespace

absl::StatusOr<InputFormat> ParseInputFormat(absl::string_view name) {
  if (name == "auto") return InputFormat::kAuto;
  if (name == "text") return InputFormat::kText;
  if (name == "lines") return InputFormat::kLines;
  if (name == "jsonl") return InputFormat::kJsonl;
  if (name == "ids") return InputFormat::kIds;
  return absl::InvalidArgumentError("is none of auto, text, lines, jsonl, ids");
}

absl::StatusOr<std::vector<uint32_t>> ParseIds(absl::string_view text) {
  std::vector<uint32_t> ids;
  for (const absl::string_view part :
       absl::StrSplit(text, absl::ByAnyChar(" ,\t\r\n"), absl::SkipEmpty())) {
    uint32_t id = 0;
    if (!absl::SimpleAtoi(part, &id)) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", part.substr(0, 20), "\" is not a token id"));
    }
    ids.push_back(id);
  }
  return ids;
}

DocumentReader::DocumentReader(std::vector<std::string> inputs, InputFormat format,
                               const Tokenizer* tokenizer, std::istream& standard_input)
    : inputs_(std::move(inputs)),
      wanted_format_(format),
      tokenizer_(tokenizer),
      standard_input_(standard_input) {}

std::optional<Document> DocumentReader::Next() {
  while (true) {
    if (stream_ != nullptr) {
      if (auto document = NextOfInput(); document.has_value()) return document;
      stream_ = nullptr;
      file_.close();
    }
    if (next_input_ == inputs_.size()) return std::nullopt;
    Document failed;
    if (!OpenNextInput(&failed)) return failed;
  }
}

bool DocumentReader::OpenNextInput(Document* failed) {
  name_ = inputs_[next_input_++];
  line_number_ = 0;
  format_ = wanted_format_ == InputFormat::kAuto ? FormatOf(name_) : wanted_format_;
  if (name_ == "-") {
    stream_ = &standard_input_;
    return true;
  }
  failed->name = name_;
  std::error_code ignored;
  if (std::filesystem::is_directory(name_, ignored)) {
    failed->status = Unreadable(name_, "it is a directory");
    return false;
  }
  file_.clear();
  file_.open(name_, std::ios::binary);
  if (!file_) {
    failed->status = Unreadable(name_, std::strerror(errno));
    return false;
  }
  stream_ = &file_;
  return true;
}

std::optional<Document> DocumentReader::NextOfInput() {
  if (format_ == InputFormat::kText) {
    if (line_number_++ > 0) return std::nullopt;
    return ReadWhole();
  }
  std::string line;
  while (std::getline(*stream_, line)) {
    ++line_number_;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (absl::StripAsciiWhitespace(line).empty()) continue;
    return ParseLine(line);
  }
  return std::nullopt;
}

Document DocumentReader::ReadWhole() {
  Document document{.name = name_};
  const std::string text{std::istreambuf_iterator<char>(*stream_), {}};
  if (stream_->bad()) {
    document.status = Unreadable(name_, std::strerror(errno));
    return document;
  }
  auto ids = tokenizer_->Encode(text);
  document.status = ids.status();
  if (ids.ok()) document.ids = *std::move(ids);
  return document;
}

Document DocumentReader::ParseLine(const std::string& line) {
  Document document{.name = absl::StrCat(name_, ":", line_number_)};
  if (format_ == InputFormat::kJsonl) {
    ParseJson(line, &document);
    return document;
  }
  auto ids = format_ == InputFormat::kIds ? ParseIds(line) : tokenizer_->Encode(line);
  document.status = ids.status();
  if (ids.ok()) document.ids = *std::move(ids);
  return document;
}

void DocumentReader::ParseJson(const std::string& line, Document* document) {
  const json object = json::parse(line, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    document->status = absl::InvalidArgumentError("the line is not a JSON object");
    return;
  }
  if (const auto id = object.find("id"); id != object.end()) {
    document->name = id->is_string() ? id->get<std::string>() : id->dump();
  }
  const auto text = object.find("text");
  const auto token_ids = object.find("token_ids");
  absl::StatusOr<std::vector<uint32_t>> ids = absl::InvalidArgumentError(
      "the object needs either \"text\" (a string) or \"token_ids\" "
      "(a list of numbers)");
  const bool has_text = text != object.end() && text->is_string();
  const bool has_ids = token_ids != object.end() && token_ids->is_array();
  if (has_text && !has_ids) ids = tokenizer_->Encode(text->get_ref<const std::string&>());
  if (has_ids && !has_text) ids = IdsOfJson(*token_ids);
  document->status = ids.status();
  if (ids.ok()) document->ids = *std::move(ids);
}

}  // namespace longwave::cli
