#ifndef LONGWAVE_CLIENT_CLI_INPUT_LIST_H_
#define LONGWAVE_CLIENT_CLI_INPUT_LIST_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace longwave::cli {

// Which files of a directory are wanted: those that fit one of `include` (if there is any) and none
// of `exclude`. Shell patterns for the file's name, or, with a slash in them, for the path below
// the directory that was named (there `*` goes across slashes).
struct FileFilter {
  std::vector<std::string> include;
  std::vector<std::string> exclude;
  // Never wanted, under whatever name they are found: what this program writes.
  std::vector<std::string> without;

  bool Wants(const std::string& path_below) const;
};

// A file to be read, or what could not be looked into and why.
struct InputFile {
  std::string path;
  absl::Status status;
};

// Files and "-" as they are; a directory as all files below it that the filter wants, in the order
// of their paths' bytes. Hidden names are passed over, and so are links to directories, which makes
// loops of links harmless; what was named itself is taken whatever it is.
std::vector<InputFile> ListInputs(const std::vector<std::string>& inputs, const FileFilter& filter);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_INPUT_LIST_H_
