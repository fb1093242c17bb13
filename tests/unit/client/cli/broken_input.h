#ifndef LONGWAVE_TESTS_UNIT_CLIENT_CLI_BROKEN_INPUT_H_
#define LONGWAVE_TESTS_UNIT_CLIENT_CLI_BROKEN_INPUT_H_

#include <cerrno>
#include <ios>
#include <streambuf>
#include <string>
#include <utility>

namespace longwave::cli {

// Gives some bytes and then fails as a file does on a disk that does not answer.
class BrokenInput final : public std::streambuf {
 public:
  explicit BrokenInput(std::string bytes) : bytes_(std::move(bytes)) {
    setg(bytes_.data(), bytes_.data(), bytes_.data() + bytes_.size());
  }

 private:
  int_type underflow() override {
    errno = EIO;
    throw std::ios_base::failure("scripted");
  }

  std::string bytes_;
};

}  // namespace longwave::cli

#endif  // LONGWAVE_TESTS_UNIT_CLIENT_CLI_BROKEN_INPUT_H_
