#ifndef LONGWAVE_CLIENT_CLI_FOLDER_SYNC_H_
#define LONGWAVE_CLIENT_CLI_FOLDER_SYNC_H_

#include <string>

#include "absl/status/status.h"

namespace longwave::cli {

// The names in the folder of `path`, made, changed and removed, outlive the machine's going off: a
// file's own fdatasync says nothing of its name.
absl::Status SyncFolderOf(const std::string& path);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_FOLDER_SYNC_H_
