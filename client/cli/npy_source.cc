#include "client/cli/npy_source.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/read_error.h"

namespace longwave::cli {
namespace {

constexpr int64_t kBlockBytes = 1 << 20;

// The item at `bytes`, little-endian; false: it is not a token id.
bool ReadItem(const char* bytes, const NpyHeader& header, uint32_t* id) {
  uint64_t value = 0;
  for (int i = header.item_bytes; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  const bool negative = header.is_signed && (value >> (8 * header.item_bytes - 1) & 1) != 0;
  *id = static_cast<uint32_t>(value);
  return !negative && value <= std::numeric_limits<uint32_t>::max();
}

}  // namespace

absl::StatusOr<std::vector<uint32_t>> NpySource::ReadRow() {
  const NpyHeader& header = *header_;
  std::vector<uint32_t> ids;
  std::vector<char> block;
  absl::Status bad_id;
  while (static_cast<int64_t>(ids.size()) < header.columns) {
    const int64_t left = (header.columns - static_cast<int64_t>(ids.size())) * header.item_bytes;
    block.resize(std::min(left, kBlockBytes));
    in_.read(block.data(), static_cast<std::streamsize>(block.size()));
    if (in_.gcount() != static_cast<std::streamsize>(block.size())) {
      ended_ = true;
      if (in_.bad()) return CannotRead(name_, std::strerror(errno));
      const int64_t row = header.columns * header.item_bytes;
      return absl::InvalidArgumentError(
          absl::StrCat("the file is cut off: row ", next_row_ - 1, " of ", header.rows, " has ",
                       row - left + in_.gcount(), " bytes, and the header says ", row));
    }
    for (size_t at = 0; at < block.size(); at += header.item_bytes) {
      uint32_t id = 0;
      // The row is read to its end all the same: the next one begins there.
      if (!ReadItem(block.data() + at, header, &id) && bad_id.ok()) {
        bad_id = absl::InvalidArgumentError(absl::StrCat("element ", ids.size(),
                                                         " is not a token id: they are 0 to ",
                                                         std::numeric_limits<uint32_t>::max()));
      }
      ids.push_back(id);
    }
  }
  if (!bad_id.ok()) return bad_id;
  return ids;
}

std::optional<Document> NpySource::Next() {
  if (ended_) return std::nullopt;
  Document document{.name = name_};
  if (!header_.has_value()) {
    auto header = ReadNpyHeader(in_);
    if (!header.ok()) {
      ended_ = true;
      document.status = in_.bad() ? CannotRead(name_, std::strerror(errno)) : header.status();
      return document;
    }
    header_ = *header;
  }
  if (next_row_ == header_->rows) {
    ended_ = true;
    const bool at_end = in_.peek() == std::istream::traits_type::eof();
    if (at_end && !in_.bad()) return std::nullopt;
    document.status =
        at_end
            ? CannotRead(name_, std::strerror(errno))
            : absl::InvalidArgumentError(
                  "there are bytes behind the array; the file is damaged or holds more than one");
    return document;
  }
  if (!header_->one_document) document.name = absl::StrCat(name_, "[", next_row_, "]");
  ++next_row_;
  auto ids = ReadRow();
  document.status = ids.status();
  if (ids.ok()) maker_.FromIds(*std::move(ids), {}, &document);
  return document;
}

}  // namespace longwave::cli
