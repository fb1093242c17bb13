#include "client/cli/jsonl_record.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace longwave::cli {
namespace {

using nlohmann::json;

// Spans are lists of lists in an object; what else is in a line is another program's.
constexpr int kMaxDepth = 64;

// How deep the line's brackets go: what is built of them is copied and taken down by recursion.
int Depth(const std::string& line) {
  int depth = 0;
  int deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (in_string && c == '\\') ++i;
    if (c == '"') in_string = !in_string;
    if (in_string) continue;
    if (c == '[' || c == '{') deepest = std::max(deepest, ++depth);
    if (c == ']' || c == '}') --depth;
  }
  return deepest;
}

bool IsUint32(const json& number) {
  return number.is_number_unsigned() &&
         number.get<uint64_t>() <= std::numeric_limits<uint32_t>::max();
}

absl::StatusOr<std::vector<uint32_t>> IdsOfJson(const json& list) {
  std::vector<uint32_t> ids;
  ids.reserve(list.size());
  for (const json& id : list) {
    if (!IsUint32(id)) {
      return absl::InvalidArgumentError(
          absl::StrCat("token_ids[", ids.size(), "] is not a token id"));
    }
    ids.push_back(id.get<uint32_t>());
  }
  return ids;
}

// The list under `key`, empty if there is none.
absl::StatusOr<std::vector<client::TokenSpan>> SpansOfJson(const json& object, const char* key) {
  std::vector<client::TokenSpan> spans;
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return spans;
  if (!found->is_array() || found->empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", key, "\" is not a list of ranges like [[0, 500], [500, 900]]"));
  }
  for (const json& range : *found) {
    const bool good = range.is_array() && range.size() == 2 && IsUint32(range[0]) &&
                      IsUint32(range[1]) && range[0].get<uint32_t>() < range[1].get<uint32_t>();
    if (!good) {
      return absl::InvalidArgumentError(
          absl::StrCat(key, "[", spans.size(), "] is not a range [begin, end] with begin < end"));
    }
    spans.push_back({.begin = range[0].get<uint32_t>(), .end = range[1].get<uint32_t>()});
  }
  return spans;
}

absl::StatusOr<OwnSpans> OwnSpansOf(const json& object) {
  auto tokens = SpansOfJson(object, "spans");
  if (!tokens.ok()) return tokens.status();
  auto characters = SpansOfJson(object, "char_spans");
  if (!characters.ok()) return characters.status();
  if (!tokens->empty() && !characters->empty()) {
    return absl::InvalidArgumentError("\"spans\" and \"char_spans\" exclude each other");
  }
  return OwnSpans{.tokens = *std::move(tokens), .characters = *std::move(characters)};
}

absl::Status FillFrom(const json& object, const DocumentMaker& maker, Document* document) {
  const auto text = object.find("text");
  const auto token_ids = object.find("token_ids");
  const bool has_text = text != object.end() && text->is_string();
  const bool has_ids = token_ids != object.end() && token_ids->is_array();
  if (has_text == has_ids) {
    return absl::InvalidArgumentError(
        "the object needs either \"text\" (a string) or \"token_ids\" (a list of numbers)");
  }
  absl::StatusOr<OwnSpans> own = OwnSpans();
  // Who does not ask for spans may use these keys for something else.
  if (maker.wants_spans()) own = OwnSpansOf(object);
  if (!own.ok()) return own.status();
  if (has_text) {
    maker.FromText(text->get_ref<const std::string&>(), *own, document);
    return document->status;
  }
  auto ids = IdsOfJson(*token_ids);
  if (!ids.ok()) return ids.status();
  maker.FromIds(*std::move(ids), *own, document);
  return document->status;
}

}  // namespace

void ParseJsonlRecord(const std::string& line, const DocumentMaker& maker, Document* document) {
  if (Depth(line) > kMaxDepth) {
    document->status =
        absl::InvalidArgumentError(absl::StrCat("the line is nested deeper than ", kMaxDepth));
    return;
  }
  const json object = json::parse(line, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    document->status = absl::InvalidArgumentError("the line is not a JSON object");
    return;
  }
  if (const auto id = object.find("id"); id != object.end()) {
    if (!id->is_string() && !id->is_number()) {
      document->status = absl::InvalidArgumentError("\"id\" is neither a string nor a number");
      return;
    }
    document->name = id->is_string() ? id->get<std::string>() : id->dump();
  }
  document->status = FillFrom(object, maker, document);
}

}  // namespace longwave::cli
