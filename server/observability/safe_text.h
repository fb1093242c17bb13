#ifndef LONGWAVE_SERVER_OBSERVABILITY_SAFE_TEXT_H_
#define LONGWAVE_SERVER_OBSERVABILITY_SAFE_TEXT_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace longwave {

// The longest text that comes from outside and is shown to people, in bytes.
inline constexpr size_t kMaxShownBytes = 128;

// `text` as valid UTF-8 of at most `max_bytes` bytes: what is not UTF-8 becomes U+FFFD, and a text
// that is too long is cut between characters and ends in U+2026. Precondition: max_bytes >= 3.
std::string SafeText(absl::string_view text, size_t max_bytes = kMaxShownBytes);

// `text`, valid UTF-8, as the inside of a JSON string that cannot leave its line or steer a
// terminal: beside what JSON requires, DEL, C1 controls, line separators and the characters that
// change the direction of writing are escaped.
std::string JsonEscape(absl::string_view text);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_OBSERVABILITY_SAFE_TEXT_H_
