#include "server/admission/field_error.h"

#include <cstdint>

#include "absl/strings/escaping.h"

namespace longwave {
namespace {

constexpr size_t kMaxShownBytes = 48;

// Length of the UTF-8 sequence that begins with `first`, 0 if none does.
int SequenceLength(uint8_t first) {
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return 2;
  if (first >= 0xe0 && first <= 0xef) return 3;
  if (first >= 0xf0 && first <= 0xf4) return 4;
  return 0;
}

// Whether `second` may follow `first`; excludes overlong forms, surrogates and what is beyond
// U+10FFFF, which the first two bytes decide.
bool SecondByteFits(uint8_t first, uint8_t second) {
  switch (first) {
    case 0xe0:
      return second >= 0xa0 && second <= 0xbf;
    case 0xed:
      return second >= 0x80 && second <= 0x9f;
    case 0xf0:
      return second >= 0x90 && second <= 0xbf;
    case 0xf4:
      return second >= 0x80 && second <= 0x8f;
    default:
      return second >= 0x80 && second <= 0xbf;
  }
}

}  // namespace

std::string ShownText(absl::string_view text) {
  const bool cut = text.size() > kMaxShownBytes;
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kMaxShownBytes)), cut ? "...\"" : "\"");
}

bool IsUtf8(absl::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto first = static_cast<uint8_t>(text[i]);
    const int length = SequenceLength(first);
    if (length == 0 || text.size() - i < static_cast<size_t>(length)) return false;
    if (length > 1 && !SecondByteFits(first, static_cast<uint8_t>(text[i + 1]))) return false;
    for (int k = 2; k < length; ++k) {
      if ((static_cast<uint8_t>(text[i + k]) & 0xc0) != 0x80) return false;
    }
    i += length;
  }
  return true;
}

}  // namespace longwave
