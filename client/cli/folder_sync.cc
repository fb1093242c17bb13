#include "client/cli/folder_sync.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"

namespace longwave::cli {

absl::Status SyncFolderOf(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  const std::string folder = parent.empty() ? std::string(1, '.') : parent;
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // A folder that may be written into and not read: the names are safe a moment later.
  if (descriptor < 0 && errno == EACCES) return absl::OkStatus();
  int problem = descriptor < 0 ? errno : 0;
  if (descriptor >= 0 && fsync(descriptor) != 0) problem = errno;
  if (descriptor >= 0) close(descriptor);
  // EINVAL, ENOTSUP: this file system knows no such thing.
  if (problem == 0 || problem == EINVAL || problem == ENOTSUP) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("cannot write ", folder, ": ", std::strerror(problem)));
}

}  // namespace longwave::cli
