#ifndef LONGWAVE_CLIENT_CLI_OUTPUT_FILE_H_
#define LONGWAVE_CLIENT_CLI_OUTPUT_FILE_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longwave::cli {

// A file that appears under its name only when it is whole: written beside it under another name
// and renamed at the end. What is not committed is removed, on the signals that end programs too,
// unless it was made by CreateKept. One at a time in a process.
//
// Whatever the moment in which the machine goes off, the name stands for the older file or for the
// whole new one, and of what is kept one copy is on the disk.
class OutputFile {
 public:
  static absl::StatusOr<std::unique_ptr<OutputFile>> Create(const std::string& path);
  // The first `size` bytes of what an earlier process left as KeptPath(path); it stays there until
  // it is committed. OUT_OF_RANGE: there are fewer.
  static absl::StatusOr<std::unique_ptr<OutputFile>> CreateKept(const std::string& path,
                                                                int64_t size);
  static std::string KeptPath(const std::string& path) { return path + ".part"; }
  // A pipe: what is written is gone. `out` outlives it.
  static std::unique_ptr<OutputFile> CreatePipe(std::ostream& out);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::string& path() const { return path_; }
  bool is_pipe() const { return pipe_ != nullptr; }
  int64_t size() const { return size_; }
  // At the end of the file.
  absl::Status Append(absl::string_view bytes);
  // Over what is there already; not in a pipe, as Shift.
  absl::Status Overwrite(int64_t offset, absl::string_view bytes);
  // Moves everything from `offset` on by `bytes` towards the end; what lies between is undefined.
  absl::Status Shift(int64_t offset, int64_t bytes);
  // Drops what lies behind `size`. FAILED_PRECONDITION if that is in the pipe already.
  absl::Status Truncate(int64_t size);
  // What was written outlives the process and the machine's going off.
  absl::Status Sync();
  // Gives the file its name, over an older one. To be called once, last. Where it fails the older
  // file is still there.
  absl::Status Commit();

 private:
  OutputFile(std::string path, std::string temporary, std::FILE* file, bool kept);
  absl::Status ShiftInPlace(int64_t offset, int64_t bytes);
  absl::Status MoveToCopy(int64_t offset, int64_t bytes);
  // Removes what is not kept.
  void Drop();
  absl::Status Error(const char* what) const;

  const std::string path_;
  std::string temporary_;
  std::FILE* file_;
  bool kept_;                     // temporary_ is left where it is
  std::ostream* pipe_ = nullptr;  // then file_ is null
  std::string copied_from_;  // a kept file of which file_ is a copy; it goes when that is committed
  int64_t size_ = 0;
};

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_OUTPUT_FILE_H_
