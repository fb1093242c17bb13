#include "model/weights/json_fields.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 32;
constexpr size_t kMaxQuoted = 100;
constexpr size_t kMaxProblems = 100;

// First pass over a text, before any value is built: what nlohmann would accept and we do not.
class StrictJsonCheck : public nlohmann::json_sax<Json> {
 public:
  const std::string& problem() const { return problem_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return Open(); }
  bool key(string_t& name) override {
    if (keys_.back().insert(name).second) return true;
    problem_ = absl::StrCat("the key ", Quoted(name), " appears twice in one object");
    return false;
  }
  bool end_object() override { return Close(); }
  bool start_array(size_t) override { return Open(); }
  bool end_array() override { return Close(); }
  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    problem_ = absl::StrCat("not valid JSON near byte ", position);
    return false;
  }

 private:
  bool Open() {
    keys_.emplace_back();
    if (keys_.size() <= kMaxDepth) return true;
    problem_ = absl::StrCat("nested deeper than ", kMaxDepth);
    return false;
  }
  bool Close() {
    keys_.pop_back();
    return true;
  }

  std::vector<std::set<std::string>> keys_;  // of each open object; unused for arrays
  std::string problem_;
};

// A value as the file has it, for messages.
std::string Shown(const Json& value) {
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  if (text.size() > kMaxQuoted) text = absl::StrCat(text.substr(0, kMaxQuoted), "...");
  return text;
}

bool IsIntegerIn(const Json& value, int64_t low, int64_t high) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
    return false;
  }
  const int64_t number = value.get<int64_t>();
  return low <= number && number <= high;
}

const Json& EmptyObject() {
  static const Json& empty = *new Json(Json::object());
  return empty;
}

const Json& EmptyArray() {
  static const Json& empty = *new Json(Json::array());
  return empty;
}

}  // namespace

absl::StatusOr<Json> ParseJsonObject(absl::string_view text) {
  if (absl::StartsWith(text, "\xEF\xBB\xBF")) {
    return absl::InvalidArgumentError("begins with a byte order mark; plain UTF-8 is accepted");
  }
  StrictJsonCheck check;
  if (!Json::sax_parse(text.begin(), text.end(), &check)) {
    return absl::InvalidArgumentError(check.problem());
  }
  Json value = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) return absl::InvalidArgumentError("not a JSON object");
  return value;
}

std::string Quoted(absl::string_view text) {
  const bool cut = text.size() > kMaxQuoted;
  return absl::StrCat("'", absl::CHexEscape(text.substr(0, kMaxQuoted)), cut ? "..." : "", "'");
}

absl::Status Problems::ToStatus(absl::string_view heading) const {
  if (problems_.empty()) return absl::OkStatus();
  std::string text(heading);
  for (size_t i = 0; i < std::min(problems_.size(), kMaxProblems); ++i) {
    absl::StrAppend(&text, "\n", problems_[i]);
  }
  if (problems_.size() > kMaxProblems) {
    absl::StrAppend(&text, "\nand ", problems_.size() - kMaxProblems, " more");
  }
  return absl::InvalidArgumentError(text);
}

JsonFields::JsonFields(const Json& object, std::string prefix, Problems* problems)
    : object_(object), prefix_(std::move(prefix)), problems_(problems) {}

bool JsonFields::Has(absl::string_view key) const { return object_.contains(std::string(key)); }

void JsonFields::Refuse(absl::string_view key, absl::string_view accepted) {
  const auto found = object_.find(std::string(key));
  problems_->Add(found == object_.end()
                     ? absl::StrCat(prefix_, key, " is missing: accepted: ", accepted)
                     : absl::StrCat(prefix_, key, " = ", Shown(*found), ": accepted: ", accepted));
}

const Json* JsonFields::Take(absl::string_view key, bool required, absl::string_view accepted) {
  known_.insert(std::string(key));
  const auto found = object_.find(std::string(key));
  if (found != object_.end()) return &*found;
  if (required) Refuse(key, accepted);
  return nullptr;
}

int64_t JsonFields::Integer(absl::string_view key, std::optional<int64_t> fallback, int64_t low,
                            int64_t high) {
  const std::string accepted = absl::StrCat("an integer in [", low, ", ", high, "]");
  const Json* value = Take(key, !fallback.has_value(), accepted);
  if (value == nullptr) return fallback.value_or(0);
  if (IsIntegerIn(*value, low, high)) return value->get<int64_t>();
  Refuse(key, accepted);
  return fallback.value_or(0);
}

double JsonFields::Number(absl::string_view key, std::optional<double> fallback, double low,
                          double high) {
  const std::string accepted = absl::StrCat("a number above ", low, ", at most ", high);
  const Json* value = Take(key, !fallback.has_value(), accepted);
  if (value == nullptr) return fallback.value_or(0);
  if (value->is_number()) {
    const double number = value->get<double>();
    if (number > low && number <= high) return number;
  }
  Refuse(key, accepted);
  return fallback.value_or(0);
}

bool JsonFields::Boolean(absl::string_view key, std::optional<bool> fallback) {
  const Json* value = Take(key, !fallback.has_value(), "true or false");
  if (value == nullptr) return fallback.value_or(false);
  if (value->is_boolean()) return value->get<bool>();
  Refuse(key, "true or false");
  return fallback.value_or(false);
}

std::string JsonFields::String(absl::string_view key, std::optional<std::string> fallback) {
  const Json* value = Take(key, !fallback.has_value(), "a string");
  if (value == nullptr) return fallback.value_or("");
  if (value->is_string()) return value->get<std::string>();
  Refuse(key, "a string");
  return fallback.value_or("");
}

std::optional<std::string> JsonFields::ChoiceName(absl::string_view key) {
  const Json* value = Take(key, /*required=*/false, "");
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return value->get<std::string>();
}

std::vector<int64_t> JsonFields::Integers(absl::string_view key, int64_t low, int64_t high,
                                          size_t min_count) {
  const std::string count = min_count > 0 ? absl::StrCat("at least ", min_count, " ") : "";
  const std::string accepted =
      absl::StrCat("an array of ", count, "integers in [", low, ", ", high, "]");
  const Json* value = Take(key, /*required=*/min_count > 0, accepted);
  if (value == nullptr) return {};
  const auto in_range = [&](const Json& item) { return IsIntegerIn(item, low, high); };
  if (!value->is_array() || value->size() < min_count ||
      !std::all_of(value->begin(), value->end(), in_range)) {
    Refuse(key, accepted);
    return {};
  }
  return value->get<std::vector<int64_t>>();
}

JsonFields JsonFields::Object(absl::string_view key) {
  const Json* value = Take(key, /*required=*/false, "");
  if (value != nullptr && !value->is_object()) {
    Refuse(key, "an object");
    value = nullptr;
  }
  return JsonFields(value == nullptr ? EmptyObject() : *value, absl::StrCat(prefix_, key, "."),
                    problems_);
}

std::optional<JsonFields> JsonFields::OptionalObject(absl::string_view key) {
  const Json* value = Take(key, /*required=*/false, "");
  if (value == nullptr || value->is_null()) return std::nullopt;
  if (value->is_object()) return JsonFields(*value, absl::StrCat(prefix_, key, "."), problems_);
  Refuse(key, "an object or null");
  return std::nullopt;
}

const Json& JsonFields::Array(absl::string_view key, bool required) {
  const Json* value = Take(key, required, "an array");
  if (value == nullptr) return EmptyArray();
  if (value->is_array()) return *value;
  Refuse(key, "an array");
  return EmptyArray();
}

void JsonFields::Unused(absl::string_view key, absl::string_view why) {
  if (Take(key, /*required=*/false, "") == nullptr) return;
  Refuse(key, absl::StrCat("nothing: the key is not used ", why));
}

void JsonFields::RefuseUnknown() {
  std::string known;
  for (const std::string& key : known_) absl::StrAppend(&known, known.empty() ? "" : ", ", key);
  for (const auto& [key, value] : object_.items()) {
    if (known_.count(key) > 0) continue;
    problems_->Add(
        absl::StrCat(prefix_, Quoted(key), " = ", Shown(value), ": unknown key: known: ", known));
  }
}

}  // namespace longwave
