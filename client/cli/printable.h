#ifndef LONGWAVE_CLIENT_CLI_PRINTABLE_H_
#define LONGWAVE_CLIENT_CLI_PRINTABLE_H_

#include <ostream>
#include <streambuf>
#include <string>

#include "absl/strings/string_view.h"

namespace longwave::cli {

// Names come from files, texts from servers, and a terminal obeys some of their bytes. `text` for
// people: each control character (C0, DEL, C1) and each byte of C1 that is no part of a UTF-8
// character is a "?".
std::string Printable(absl::string_view text);
// The same, with ends of lines kept.
std::string PrintableLines(absl::string_view text);

// What is written into stream() comes out of `out`, which outlives it, as PrintableLines at once.
class PrintableOutput final : private std::streambuf {
 public:
  explicit PrintableOutput(std::ostream& out) : out_(out), stream_(this) {
    stream_.setf(std::ios::unitbuf);
  }

  std::ostream& stream() { return stream_; }

 private:
  int_type overflow(int_type c) override;
  std::streamsize xsputn(const char* bytes, std::streamsize count) override;
  int sync() override { return out_.flush() ? 0 : -1; }

  std::ostream& out_;
  std::ostream stream_;
};

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_PRINTABLE_H_
