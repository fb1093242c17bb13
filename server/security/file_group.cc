#include "server/security/file_group.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/base/owned_fd.h"

namespace longwave {
namespace {

// A writer that changes its files faster than they are read thrice has to pause first.
constexpr int kMaxRounds = 5;

absl::Status Problem(const std::string& path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  // Non-blocking, so that a pipe put in the file's place cannot hold the reader.
  const OwnedFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return Problem(path, std::strerror(errno));
  struct stat info;
  if (fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return Problem(path, "is not a regular file");
  }
  std::string text;
  char buffer[16 << 10];
  while (true) {
    const ssize_t got = read(fd.get(), buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Problem(path, std::strerror(errno));
    if (got == 0) return text;
    text.append(buffer, static_cast<size_t>(got));
    if (static_cast<int64_t>(text.size()) > kMaxSecurityFileBytes) {
      return Problem(path, absl::StrCat("is larger than ", kMaxSecurityFileBytes, " bytes"));
    }
  }
}

absl::StatusOr<std::vector<std::string>> ReadOnce(const std::vector<std::string>& paths) {
  std::vector<std::string> contents;
  for (const std::string& path : paths) {
    absl::StatusOr<std::string> text = ReadFile(path);
    if (!text.ok()) return text.status();
    contents.push_back(*std::move(text));
  }
  return contents;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ReadFileGroup(const std::vector<std::string>& paths) {
  absl::StatusOr<std::vector<std::string>> last = ReadOnce(paths);
  for (int round = 1; round < kMaxRounds; ++round) {
    absl::StatusOr<std::vector<std::string>> next = ReadOnce(paths);
    const bool same = last.ok() == next.ok() && (last.ok() ? *last == *next : true);
    last = std::move(next);
    if (same) return last;
  }
  return absl::UnavailableError(
      absl::StrCat(paths.front(), ": changes faster than it can be read"));
}

}  // namespace longwave
