#ifndef LONGWAVE_CLIENT_CLI_COMPRESSION_H_
#define LONGWAVE_CLIENT_CLI_COMPRESSION_H_

#include <array>
#include <istream>
#include <streambuf>
#include <string>

#include "absl/strings/string_view.h"

namespace longwave::cli {

// The first bytes of an input say whether it is compressed; this many are enough.
inline constexpr size_t kMagicBytes = 10;

// "gzip", "bzip2", "xz" or "zstd"; empty: none of them.
absl::string_view CompressionOf(absl::string_view front);

// An input with its first bytes looked at and still to be read, which a pipe does not allow.
class FrontedInput final : private std::streambuf {
 public:
  // Takes the first bytes of `in`, which outlives it. What cannot be read shows when it is read.
  explicit FrontedInput(std::istream& in);

  absl::string_view front() const { return front_; }
  // All of it.
  std::istream& stream() { return stream_; }

 private:
  int_type underflow() override;

  std::streambuf& rest_;
  std::string front_;
  std::array<char, 1 << 16> block_;
  std::istream stream_;
};

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_COMPRESSION_H_
