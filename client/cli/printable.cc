#include "client/cli/printable.h"

#include <cstdint>

namespace longwave::cli {
namespace {

// How many bytes the UTF-8 character has that begins at text[0]; 0: none does.
size_t CharacterSize(absl::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  const size_t size = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (size == 0 || lead > 0xF4 || size > text.size()) return 0;
  for (const char c : text.substr(1, size - 1)) {
    if ((c & 0xC0) != 0x80) return 0;
  }
  return size;
}

bool IsControl(absl::string_view character) {
  const auto first = static_cast<uint8_t>(character[0]);
  if (character.size() == 1) return first < 0x20 || first == 0x7F;
  return first == 0xC2 && static_cast<uint8_t>(character[1]) < 0xA0;
}

std::string Replace(absl::string_view text, absl::string_view kept) {
  std::string printable;
  while (!text.empty()) {
    const size_t size = CharacterSize(text);
    const absl::string_view character = text.substr(0, size == 0 ? 1 : size);
    // Terminals that know no UTF-8 obey a C1 byte by itself.
    const bool bad = size == 0 ? static_cast<uint8_t>(text[0]) < 0xA0
                               : IsControl(character) && kept.find(text[0]) == kept.npos;
    printable.append(bad ? "?" : std::string(character));
    text.remove_prefix(character.size());
  }
  return printable;
}

}  // namespace

std::string Printable(absl::string_view text) { return Replace(text, ""); }

std::string PrintableLines(absl::string_view text) { return Replace(text, "\n"); }

PrintableOutput::int_type PrintableOutput::overflow(int_type c) {
  if (traits_type::eq_int_type(c, traits_type::eof())) return traits_type::not_eof(c);
  const char byte = traits_type::to_char_type(c);
  return xsputn(&byte, 1) == 1 ? c : traits_type::eof();
}

std::streamsize PrintableOutput::xsputn(const char* bytes, std::streamsize count) {
  out_ << PrintableLines({bytes, static_cast<size_t>(count)});
  return out_ ? count : 0;
}

}  // namespace longwave::cli
