#ifndef LONGWAVE_MODEL_WEIGHTS_JSON_FIELDS_H_
#define LONGWAVE_MODEL_WEIGHTS_JSON_FIELDS_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// Reading JSON objects that people write: every field is checked, every problem is kept.
namespace longwave {

// Parses a text that must be one JSON object. Refused beyond JSON's own rules: a byte order mark,
// the same key twice in one object, nesting deeper than 32.
absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view text);

// A text from a file, made fit for an error message: escaped and shortened.
std::string Quoted(absl::string_view text);

// Problems of one file, in the order in which they were found.
class Problems {
 public:
  void Add(std::string problem) { problems_.push_back(std::move(problem)); }
  bool empty() const { return problems_.empty(); }
  // OK if there is none; else INVALID_ARGUMENT with `heading` and one problem a line (the first
  // hundred and how many more).
  absl::Status ToStatus(absl::string_view heading) const;

 private:
  std::vector<std::string> problems_;
};

// The fields of one JSON object. Each getter takes a key once, adds a problem naming key, value and
// what is accepted if the value is not, and then returns the fallback. A fallback of nullopt makes
// the key required (a value-initialised result follows its problem).
class JsonFields {
 public:
  // `prefix` goes before each key in problems ("attention.bias."). `object` and `problems` outlive
  // this. A JSON value that is no object must not be passed: see Object().
  JsonFields(const nlohmann::json& object, std::string prefix, Problems* problems);

  int64_t Integer(absl::string_view key, std::optional<int64_t> fallback, int64_t low,
                  int64_t high);
  // Accepts numbers in (low, high].
  double Number(absl::string_view key, std::optional<double> fallback, double low, double high);
  bool Boolean(absl::string_view key, std::optional<bool> fallback);
  std::string String(absl::string_view key, std::optional<std::string> fallback);
  // `names` is a range of pairs (name, Value), the closed list of what is accepted.
  template <typename Value, typename Names>
  Value Choice(absl::string_view key, std::optional<Value> fallback, const Names& names) {
    std::string accepted;
    const std::optional<std::string> name = ChoiceName(key);
    for (const auto& [known, value] : names) {
      if (name == std::string(known)) return value;
      accepted += (accepted.empty() ? "one of " : ", ") + std::string(known);
    }
    if (Has(key) || !fallback.has_value()) Refuse(key, accepted);
    return fallback.value_or(Value{});
  }
  // An array of at least `min_count` integers in [low, high]. Optional if min_count is 0.
  std::vector<int64_t> Integers(absl::string_view key, int64_t low, int64_t high,
                                size_t min_count = 0);
  // A nested object; absent: an empty one (its own fields then say what is missing).
  JsonFields Object(absl::string_view key);
  // A nested object that may be left out; nullopt if it is, or null, or (with a problem) no object.
  std::optional<JsonFields> OptionalObject(absl::string_view key);
  // An array; absent: empty, with a problem if it is required.
  const nlohmann::json& Array(absl::string_view key, bool required);

  bool Has(absl::string_view key) const;
  // Adds "<key> = <value>: accepted: <accepted>", or "... is missing ..." if it is.
  void Refuse(absl::string_view key, absl::string_view accepted);
  // The key is known but says nothing here: a problem if it is present.
  void Unused(absl::string_view key, absl::string_view why);
  // Call last: a problem for each key that no call above has named.
  void RefuseUnknown();

 private:
  // The value, its key being marked as known; null if absent. Adds the problem of a required key.
  const nlohmann::json* Take(absl::string_view key, bool required, absl::string_view accepted);
  std::optional<std::string> ChoiceName(absl::string_view key);

  const nlohmann::json& object_;
  std::string prefix_;
  Problems* problems_;
  std::set<std::string, std::less<>> known_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_WEIGHTS_JSON_FIELDS_H_
