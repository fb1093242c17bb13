#include "server/observability/safe_text.h"

#include <cstdint>

#include "absl/strings/str_format.h"

namespace longwave {
namespace {

constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
constexpr absl::string_view kEllipsis = "\xE2\x80\xA6";     // U+2026

struct Character {
  uint32_t code_point = 0;
  size_t bytes = 0;  // 0: not UTF-8
};

bool IsContinuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

// The character at the start of `text`, which is not empty. Refuses overlong forms, surrogates and
// values above U+10FFFF.
Character Decode(absl::string_view text) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return {lead, 1};
  const size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return {};
  uint32_t value = lead & (0xFF >> (bytes + 1));
  for (size_t i = 1; i < bytes; ++i) {
    if (!IsContinuation(at(i))) return {};
    value = value << 6 | (at(i) & 0x3F);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (value < kSmallest[bytes] || value > 0x10FFFF || surrogate) return {};
  return {value, bytes};
}

bool MustEscape(uint32_t code_point) {
  return code_point < 0x20 || (code_point >= 0x7F && code_point <= 0x9F) || code_point == 0x061C ||
         (code_point >= 0x200E && code_point <= 0x200F) ||
         (code_point >= 0x2028 && code_point <= 0x202E) ||
         (code_point >= 0x2066 && code_point <= 0x2069) || code_point == 0xFEFF;
}

}  // namespace

std::string SafeText(absl::string_view text, size_t max_bytes) {
  std::string safe;
  size_t cut = 0;  // the longest prefix of `safe` that leaves room for the ellipsis
  while (!text.empty()) {
    const Character character = Decode(text);
    const size_t taken = character.bytes == 0 ? 1 : character.bytes;
    const absl::string_view piece = character.bytes == 0 ? kReplacement : text.substr(0, taken);
    if (safe.size() + piece.size() > max_bytes) {
      safe.resize(cut);
      return safe.append(kEllipsis.data(), kEllipsis.size());
    }
    safe.append(piece.data(), piece.size());
    if (safe.size() + kEllipsis.size() <= max_bytes) cut = safe.size();
    text.remove_prefix(taken);
  }
  return safe;
}

std::string JsonEscape(absl::string_view text) {
  std::string escaped;
  escaped.reserve(text.size());
  while (!text.empty()) {
    const Character character = Decode(text);
    const size_t taken = character.bytes == 0 ? 1 : character.bytes;
    if (character.code_point == '"' || character.code_point == '\\') {
      escaped += '\\';
      escaped += text[0];
    } else if (character.bytes == 0) {
      escaped.append(kReplacement.data(), kReplacement.size());
    } else if (MustEscape(character.code_point)) {
      escaped += absl::StrFormat("\\u%04x", character.code_point);
    } else {
      escaped.append(text.data(), taken);
    }
    text.remove_prefix(taken);
  }
  return escaped;
}

}  // namespace longwave
