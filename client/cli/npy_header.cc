#include "client/cli/npy_header.h"

#include <array>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace longwave::cli {
namespace {

constexpr absl::string_view kMagic = "\x93NUMPY";
// NumPy's own are below 256 bytes for arrays of numbers.
constexpr uint32_t kMaxHeaderBytes = 64 << 10;
constexpr size_t kMaxDimensions = 32;

absl::Status Bad(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("the .npy header ", what));
}

// Reads the dictionary from the front of `rest`, token by token.
class Scanner {
 public:
  explicit Scanner(absl::string_view text) : rest_(text) {}

  bool Take(absl::string_view token) {
    rest_ = absl::StripLeadingAsciiWhitespace(rest_);
    return absl::ConsumePrefix(&rest_, token);
  }
  // A string in quotes of either kind, without escapes.
  bool TakeString(std::string* text) {
    const bool single = Take("'");
    if (!single && !Take("\"")) return false;
    const size_t end = rest_.find(single ? '\'' : '"');
    if (end == absl::string_view::npos) return false;
    *text = std::string(rest_.substr(0, end));
    rest_.remove_prefix(end + 1);
    return true;
  }
  bool TakeNumber(int64_t* number) {
    rest_ = absl::StripLeadingAsciiWhitespace(rest_);
    size_t end = 0;
    while (end < rest_.size() && absl::ascii_isdigit(rest_[end])) ++end;
    const bool good = absl::SimpleAtoi(rest_.substr(0, end), number);
    rest_.remove_prefix(end);
    return good;
  }
  bool AtEnd() const { return absl::StripAsciiWhitespace(rest_).empty(); }

 private:
  absl::string_view rest_;
};

struct Fields {
  std::string descr;
  bool has_order = false;
  bool fortran_order = false;
  bool has_shape = false;
  std::vector<int64_t> shape;
};

bool TakeShape(Scanner& scanner, std::vector<int64_t>* shape) {
  shape->clear();
  if (!scanner.Take("(")) return false;
  while (!scanner.Take(")")) {
    int64_t size = 0;
    if (shape->size() == kMaxDimensions || !scanner.TakeNumber(&size)) return false;
    shape->push_back(size);
    if (scanner.Take(",")) continue;
    return scanner.Take(")");
  }
  return true;
}

bool TakeField(Scanner& scanner, Fields* fields) {
  std::string key;
  if (!scanner.TakeString(&key) || !scanner.Take(":")) return false;
  if (key == "descr") return scanner.TakeString(&fields->descr);
  if (key == "shape") return fields->has_shape = TakeShape(scanner, &fields->shape);
  if (key != "fortran_order") return false;
  fields->fortran_order = scanner.Take("True");
  return fields->has_order = fields->fortran_order || scanner.Take("False");
}

bool TakeFields(Scanner& scanner, Fields* fields) {
  if (!scanner.Take("{")) return false;
  while (!scanner.Take("}")) {
    if (!TakeField(scanner, fields)) return false;
    if (scanner.Take(",")) continue;
    if (!scanner.Take("}")) return false;
    break;
  }
  return scanner.AtEnd() && !fields->descr.empty() && fields->has_order && fields->has_shape;
}

absl::Status SetType(absl::string_view descr, NpyHeader* header) {
  constexpr std::array<absl::string_view, 8> kTypes = {"|u1", "|i1", "<u2", "<i2",
                                                       "<u4", "<i4", "<u8", "<i8"};
  for (size_t i = 0; i < kTypes.size(); ++i) {
    if (descr != kTypes[i]) continue;
    header->item_bytes = 1 << (i / 2);
    header->is_signed = i % 2 == 1;
    return absl::OkStatus();
  }
  return Bad(absl::StrCat("has descr '", descr.substr(0, 20),
                          "', which is none of |u1 |i1 <u2 <i2 <u4 <i4 <u8 <i8"));
}

absl::Status SetShape(const Fields& fields, NpyHeader* header) {
  const std::vector<int64_t>& shape = fields.shape;
  if (shape.size() != 1 && shape.size() != 2) {
    return Bad(absl::StrCat("has ", shape.size(),
                            " dimensions; 1 (a document) or 2 (one in each row) can be read"));
  }
  header->one_document = shape.size() == 1;
  header->rows = header->one_document ? 1 : shape[0];
  header->columns = shape.back();
  // With one dimension both orders are the same.
  if (fields.fortran_order && !header->one_document) {
    return Bad("has fortran_order True; save numpy.ascontiguousarray of it");
  }
  if (!header->one_document && header->columns == 0) return Bad("has shape[1] = 0: empty rows");
  if (header->columns > std::numeric_limits<uint32_t>::max()) {
    return Bad(absl::StrCat("has shape[", shape.size() - 1, "] = ", header->columns, ", limit ",
                            std::numeric_limits<uint32_t>::max()));
  }
  int64_t bytes = 0;
  if (__builtin_mul_overflow(header->rows, header->columns, &bytes) ||
      __builtin_mul_overflow(bytes, header->item_bytes, &bytes)) {
    return Bad("has a shape of more than 2^63 bytes");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<NpyHeader> ParseNpyHeader(absl::string_view text) {
  Scanner scanner(text);
  Fields fields;
  if (!TakeFields(scanner, &fields)) {
    return Bad("is not a dictionary of descr, fortran_order and shape");
  }
  NpyHeader header;
  if (absl::Status type = SetType(fields.descr, &header); !type.ok()) return type;
  if (absl::Status shape = SetShape(fields, &header); !shape.ok()) return shape;
  return header;
}

absl::StatusOr<NpyHeader> ReadNpyHeader(std::istream& in) {
  char front[8];
  if (!in.read(front, sizeof(front)) || absl::string_view(front, kMagic.size()) != kMagic) {
    return absl::InvalidArgumentError("is not a .npy file: it does not begin with \\x93NUMPY");
  }
  const int major = static_cast<uint8_t>(front[6]);
  if (major < 1 || major > 3 || front[7] != 0) {
    return Bad(absl::StrCat("has version ", major, ".", static_cast<uint8_t>(front[7]),
                            "; 1.0, 2.0 and 3.0 can be read"));
  }
  const int length_bytes = major == 1 ? 2 : 4;
  unsigned char length[4] = {};
  in.read(reinterpret_cast<char*>(length), length_bytes);
  const uint32_t size = length[0] | length[1] << 8 | length[2] << 16 | uint32_t{length[3]} << 24;
  if (size > kMaxHeaderBytes) {
    return Bad(absl::StrCat("is ", size, " bytes long, limit ", kMaxHeaderBytes));
  }
  std::string text(size, '\0');
  if (!in.read(text.data(), size)) return Bad("is cut off");
  return ParseNpyHeader(text);
}

}  // namespace longwave::cli
