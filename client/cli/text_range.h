#ifndef LONGWAVE_CLIENT_CLI_TEXT_RANGE_H_
#define LONGWAVE_CLIENT_CLI_TEXT_RANGE_H_

#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"

namespace longwave::cli {

// A part of a text, half-open, in bytes.
struct TextRange {
  size_t begin = 0;
  size_t end = 0;
};

// Without the white space at its ends. Precondition: it lies in the text.
inline TextRange Trimmed(absl::string_view text, TextRange range) {
  while (range.begin < range.end && absl::ascii_isspace(text[range.begin])) ++range.begin;
  while (range.begin < range.end && absl::ascii_isspace(text[range.end - 1])) --range.end;
  return range;
}

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_TEXT_RANGE_H_
