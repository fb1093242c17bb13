#include "model/weights/file.h"

#include <fcntl.h>
#include <openssl/sha.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

absl::string_view BaseName(absl::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == absl::string_view::npos ? path : path.substr(slash + 1);
}

// Reads until `bytes` is full or the file ends; returns how much was read, or -1.
int64_t ReadFully(int file, std::string& bytes) {
  int64_t done = 0;
  const int64_t size = bytes.size();
  while (done < size) {
    const ssize_t got = read(file, &bytes[done], std::min<int64_t>(size - done, 1 << 30));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    done += got;
  }
  return done;
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  const absl::string_view name = BaseName(path);
  // O_NONBLOCK: opening a named pipe must not wait for a writer.
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return absl::ErrnoToStatus(errno, absl::StrCat(name, ": cannot be opened"));
  const auto close_file = absl::MakeCleanup([file] { close(file); });
  struct stat info;
  if (fstat(file, &info) != 0) return absl::ErrnoToStatus(errno, absl::StrCat(name, ": no size"));
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": not a regular file"));
  }
  if (info.st_size > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", info.st_size, " bytes; at most ", max_bytes, " are accepted"));
  }
  std::string bytes(info.st_size, '\0');
  const int64_t got = ReadFully(file, bytes);
  if (got < 0) return absl::ErrnoToStatus(errno, absl::StrCat(name, ": cannot be read"));
  char beyond;
  if (got != info.st_size || read(file, &beyond, 1) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": changed while it was read: ", info.st_size, " bytes expected"));
  }
  return bytes;
}

std::string Sha256Hex(absl::string_view bytes) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(digest), sizeof(digest)));
}

}  // namespace longwave
