#include "client/cli/compression.h"

#include <algorithm>

#include "absl/strings/match.h"

namespace longwave::cli {

absl::string_view CompressionOf(absl::string_view front) {
  if (absl::StartsWith(front, "\x1f\x8b")) return "gzip";
  // "BZh9" alone may begin a text.
  if (absl::StartsWith(front, "BZh") && absl::EndsWith(front.substr(0, kMagicBytes), "1AY&SY")) {
    return "bzip2";
  }
  if (absl::StartsWith(front, absl::string_view("\xfd"
                                                "7zXZ\0",
                                                6)))
    return "xz";
  if (absl::StartsWith(front, "\x28\xb5\x2f\xfd")) return "zstd";
  return "";
}

FrontedInput::FrontedInput(std::istream& in) : rest_(*in.rdbuf()), stream_(this) {
  // One by one: a read of several loses those before the one that fails.
  for (char c = 0; front_.size() < kMagicBytes && in.get(c);) front_.push_back(c);
  in.clear();
  setg(front_.data(), front_.data(), front_.data() + front_.size());
}

FrontedInput::int_type FrontedInput::underflow() {
  if (gptr() != egptr()) return traits_type::to_int_type(*gptr());
  // No more than is there: whoever writes into a pipe line by line is read line by line.
  if (rest_.sgetc() == traits_type::eof()) return traits_type::eof();
  const std::streamsize there =
      std::clamp<std::streamsize>(rest_.in_avail(), 1, static_cast<std::streamsize>(block_.size()));
  const std::streamsize got = rest_.sgetn(block_.data(), there);
  setg(block_.data(), block_.data(), block_.data() + got);
  return traits_type::to_int_type(*gptr());
}

}  // namespace longwave::cli
