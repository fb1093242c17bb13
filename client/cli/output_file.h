#ifndef LONGWAVE_CLIENT_CLI_OUTPUT_FILE_H_
#define LONGWAVE_CLIENT_CLI_OUTPUT_FILE_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longwave::cli {

// A file that appears under its name only when it is whole: written beside it under another name
// and renamed at the end. What is not committed is removed, on the signals that end programs too.
// One at a time in a process.
class OutputFile {
 public:
  static absl::StatusOr<std::unique_ptr<OutputFile>> Create(const std::string& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }
  // At the end of the file.
  absl::Status Append(absl::string_view bytes);
  // Over what is there already.
  absl::Status Overwrite(int64_t offset, absl::string_view bytes);
  // Moves everything from `offset` on by `bytes` towards the end; what lies between is undefined.
  absl::Status Shift(int64_t offset, int64_t bytes);
  // Drops what lies behind `size`.
  absl::Status Truncate(int64_t size);
  // Gives the file its name, over an older one. To be called once, last.
  absl::Status Commit();

 private:
  OutputFile(std::string path, std::string temporary, std::FILE* file);
  absl::Status Error(const char* what) const;

  const std::string path_;
  const std::string temporary_;
  std::FILE* file_;
  int64_t size_ = 0;
};

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_OUTPUT_FILE_H_
