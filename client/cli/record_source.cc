#include "client/cli/record_source.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/cli/fasta_source.h"
#include "client/cli/jsonl_record.h"
#include "client/cli/npy_source.h"
#include "client/cli/read_error.h"

namespace longwave::cli {
namespace {

struct FormatName {
  absl::string_view name;
  InputFormat format;
};
constexpr FormatName kFormats[] = {{"auto", InputFormat::kAuto},   {"text", InputFormat::kText},
                                   {"lines", InputFormat::kLines}, {"jsonl", InputFormat::kJsonl},
                                   {"ids", InputFormat::kIds},     {"fasta", InputFormat::kFasta},
                                   {"npy", InputFormat::kNpy}};

constexpr FormatName kEndings[] = {
    {".jsonl", InputFormat::kJsonl}, {".ndjson", InputFormat::kJsonl},
    {".ids", InputFormat::kIds},     {".npy", InputFormat::kNpy},
    {".fa", InputFormat::kFasta},    {".fasta", InputFormat::kFasta},
    {".faa", InputFormat::kFasta},   {".fna", InputFormat::kFasta},
    {".fas", InputFormat::kFasta}};

constexpr std::streamsize kBlockBytes = 1 << 16;

// The whole input is one document.
class TextSource final : public RecordSource {
 public:
  TextSource(std::string name, std::istream& in, const DocumentMaker& maker)
      : name_(std::move(name)), in_(in), maker_(maker) {}

  std::optional<Document> Next() override {
    if (std::exchange(read_, true)) return std::nullopt;
    Document document{.name = name_};
    std::string text;
    // Not by istreambuf_iterator, from which a failing read escapes as an exception.
    std::vector<char> block(kBlockBytes);
    while (in_.read(block.data(), kBlockBytes), in_.gcount() > 0) {
      text.append(block.data(), static_cast<size_t>(in_.gcount()));
    }
    if (in_.bad()) {
      document.status = CannotRead(name_, std::strerror(errno));
      return document;
    }
    maker_.FromText(text, {}, &document);
    return document;
  }

 private:
  const std::string name_;
  std::istream& in_;
  const DocumentMaker& maker_;
  bool read_ = false;
};

// Each line that is not empty is a document.
class LineSource final : public RecordSource {
 public:
  LineSource(InputFormat format, std::string name, std::istream& in, const DocumentMaker& maker)
      : format_(format), name_(std::move(name)), in_(in), maker_(maker) {}

  std::optional<Document> Next() override {
    std::string line;
    while (std::getline(in_, line)) {
      ++number_;
      if (!line.empty() && line.back() == '\r') line.pop_back();
      if (absl::StripAsciiWhitespace(line).empty()) continue;
      return Parse(line);
    }
    // A line that could not be read to its end is none, and what is behind it is not known.
    if (!in_.bad() || std::exchange(told_, true)) return std::nullopt;
    return Document{.name = absl::StrCat(name_, ":", number_ + 1),
                    .status = CannotRead(name_, std::strerror(errno))};
  }

 private:
  Document Parse(const std::string& line) const {
    Document document{.name = absl::StrCat(name_, ":", number_)};
    if (format_ == InputFormat::kJsonl) {
      ParseJsonlRecord(line, maker_, &document);
    } else if (format_ == InputFormat::kIds) {
      auto ids = ParseIds(line);
      document.status = ids.status();
      if (ids.ok()) maker_.FromIds(*std::move(ids), {}, &document);
    } else {
      maker_.FromText(line, {}, &document);
    }
    return document;
  }

  const InputFormat format_;
  const std::string name_;
  std::istream& in_;
  const DocumentMaker& maker_;
  int64_t number_ = 0;
  bool told_ = false;  // that the input could not be read to its end
};

}  // namespace

absl::StatusOr<InputFormat> ParseInputFormat(absl::string_view name) {
  for (const FormatName& each : kFormats) {
    if (each.name == name) return each.format;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("is none of ", absl::StrJoin(InputFormatNames(), ", ")));
}

std::vector<std::string> InputFormatNames() {
  std::vector<std::string> names;
  for (const FormatName& each : kFormats) names.emplace_back(each.name);
  return names;
}

InputFormat FormatOfPath(absl::string_view path) {
  for (const FormatName& each : kEndings) {
    if (absl::EndsWithIgnoreCase(path, each.name)) return each.format;
  }
  return InputFormat::kText;
}

std::unique_ptr<RecordSource> MakeRecordSource(InputFormat format, const std::string& name,
                                               std::istream& in, const DocumentMaker& maker) {
  switch (format) {
    case InputFormat::kFasta:
      return std::make_unique<FastaSource>(name, in, maker);
    case InputFormat::kNpy:
      return std::make_unique<NpySource>(name, in, maker);
    case InputFormat::kLines:
    case InputFormat::kJsonl:
    case InputFormat::kIds:
      return std::make_unique<LineSource>(format, name, in, maker);
    case InputFormat::kAuto:
    case InputFormat::kText:
      break;
  }
  return std::make_unique<TextSource>(name, in, maker);
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

}  // namespace longwave::cli
