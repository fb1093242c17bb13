#ifndef LONGWAVE_SERVER_FLAG_TABLE_H_
#define LONGWAVE_SERVER_FLAG_TABLE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace longwave {

// Command-line flags bound to the fields that they set. Every problem is collected, so a start that
// fails fails once. Forms: --name=value, --name value, and for switches --name and --no-name;
// dashes in names may be written for underscores.
class FlagTable {
 public:
  // The field's value at this moment is the default that Help shows. Fields outlive the table.
  void Add(const char* name, std::string* field, const char* help);
  void Add(const char* name, int* field, const char* help);
  void Add(const char* name, int64_t* field, const char* help);
  void Add(const char* name, double* field, const char* help);
  void Add(const char* name, bool* field, const char* help);
  // Flags whose default depends on others; `default_text` says how.
  void Add(const char* name, std::optional<bool>* field, const char* default_text,
           const char* help);
  void Add(const char* name, std::optional<double>* field, const char* default_text,
           const char* help);

  // Sets fields from `arguments` (without the program's name). Returns one line per problem:
  // unknown or repeated flags, missing or unreadable values, anything that is not a flag.
  std::vector<std::string> Parse(const std::vector<std::string>& arguments);
  // One paragraph per flag, in the order added.
  std::string Help() const;

 private:
  struct Flag {
    std::string name;
    std::string value_name;  // empty: a switch
    std::string default_text;
    std::string help;
    // Empty, or what is accepted instead.
    std::function<std::string(absl::string_view)> set;
    bool given = false;
  };

  Flag* Find(absl::string_view name);
  void AddFlag(Flag flag) { flags_.push_back(std::move(flag)); }

  std::vector<Flag> flags_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_FLAG_TABLE_H_
