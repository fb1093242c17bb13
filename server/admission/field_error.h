#ifndef LONGWAVE_SERVER_ADMISSION_FIELD_ERROR_H_
#define LONGWAVE_SERVER_ADMISSION_FIELD_ERROR_H_

#include <array>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "model/base/error.h"

// How the validator words its errors.
namespace longwave {

// The value of a bad field and what would have been accepted. Numbers convert.
struct BadValue {
  std::string value;
  std::string limit;
};
template <typename Value, typename Limit>
BadValue Got(const Value& value, const Limit& limit) {
  return {absl::StrCat(value), absl::StrCat(limit)};
}

inline absl::Status FieldError(ErrorReason reason, absl::string_view field, BadValue bad,
                               absl::string_view message) {
  return MakeError({.reason = reason,
                    .field = std::string(field),
                    .value = std::move(bad.value),
                    .limit = std::move(bad.limit)},
                   message);
}

// Text from outside as printable ASCII of bounded length, in quotes.
std::string ShownText(absl::string_view text);

// Whether `text` is UTF-8 as RFC 3629 has it: shortest forms, no surrogates.
bool IsUtf8(absl::string_view text);

// One value of an enum of the API, and ours.
template <typename T>
struct EnumRow {
  int number;
  const char* name;
  T value;
};

// Our value of a raw enum number. INVALID_ENUM lists the known ones.
template <typename T, size_t n>
absl::StatusOr<T> MapEnum(absl::string_view field, int number,
                          const std::array<EnumRow<T>, n>& rows) {
  std::string known;
  for (const EnumRow<T>& row : rows) {
    if (row.number == number) return row.value;
    absl::StrAppend(&known, known.empty() ? "" : ", ", row.name, " (", row.number, ")");
  }
  return FieldError(ErrorReason::kInvalidEnum, field, Got(number, known),
                    "this server does not know the value");
}

}  // namespace longwave

#endif  // LONGWAVE_SERVER_ADMISSION_FIELD_ERROR_H_
