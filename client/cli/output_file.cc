#include "client/cli/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/folder_sync.h"

namespace longwave::cli {
namespace {

constexpr int kFatalSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGQUIT, SIGXFSZ};

// What a signal handler has to remove. Only async-signal-safe calls may be made there.
std::atomic<const char*> g_temporary{nullptr};

extern "C" void RemoveAndDie(int signal) {
  if (const char* path = g_temporary.load(); path != nullptr) unlink(path);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void GuardAgainstSignals(const char* temporary) {
  g_temporary.store(temporary);
  for (const int signal : kFatalSignals) {
    // What the caller's shell ignores (nohup) stays ignored.
    struct sigaction old{};
    sigaction(signal, nullptr, &old);
    if (old.sa_handler == SIG_IGN) continue;
    struct sigaction action{};
    action.sa_handler = temporary != nullptr ? RemoveAndDie : SIG_DFL;
    sigaction(signal, &action, nullptr);
  }
}

// mkstemp makes files that only their owner reads; this one gets what any new file would.
void SetUsualMode(int descriptor) {
  const mode_t mask = umask(0);
  umask(mask);
  (void)fchmod(descriptor, 0666 & ~mask);
}

// A new file beside `path`; null: errno says why.
std::FILE* OpenBeside(const std::string& path, std::string* temporary) {
  *temporary = path + ".part-XXXXXX";
  const int descriptor = mkstemp(temporary->data());
  if (descriptor < 0) return nullptr;
  SetUsualMode(descriptor);
  return fdopen(descriptor, "w+b");
}

}  // namespace

OutputFile::OutputFile(std::string path, std::string temporary, std::FILE* file, bool kept)
    : path_(std::move(path)), temporary_(std::move(temporary)), file_(file), kept_(kept) {
  if (!kept_) GuardAgainstSignals(temporary_.c_str());
}

OutputFile::~OutputFile() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  Drop();
}

absl::StatusOr<std::unique_ptr<OutputFile>> OutputFile::Create(const std::string& path) {
  std::string temporary;
  std::FILE* file = OpenBeside(path, &temporary);
  if (file == nullptr) {
    return absl::InternalError(absl::StrCat("cannot write ", path, ": ", std::strerror(errno)));
  }
  return std::unique_ptr<OutputFile>(new OutputFile(path, std::move(temporary), file, false));
}

absl::StatusOr<std::unique_ptr<OutputFile>> OutputFile::CreateKept(const std::string& path,
                                                                   int64_t size) {
  std::string part = KeptPath(path);
  // Never "w": what an earlier process computed would be gone before anybody looked at it.
  const int descriptor = open(part.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  std::FILE* opened = descriptor < 0 ? nullptr : fdopen(descriptor, "r+b");
  if (opened == nullptr) {
    return absl::InternalError(absl::StrCat("cannot write ", part, ": ", std::strerror(errno)));
  }
  std::unique_ptr<OutputFile> file(new OutputFile(path, part, opened, true));
  struct stat status{};
  if (fstat(descriptor, &status) != 0) return file->Error("look at");
  if (status.st_size < size) {
    return absl::OutOfRangeError(absl::StrCat(part, " has ", status.st_size, " bytes of ", size));
  }
  absl::Status ready = file->Truncate(size);
  if (ready.ok()) ready = SyncFolderOf(part);
  if (!ready.ok()) return ready;
  return file;
}

std::unique_ptr<OutputFile> OutputFile::CreatePipe(std::ostream& out) {
  std::unique_ptr<OutputFile> file(new OutputFile("standard output", "", nullptr, true));
  file->pipe_ = &out;
  return file;
}

absl::Status OutputFile::Error(const char* what) const {
  return absl::InternalError(absl::StrCat("cannot ", what, " ", path_, ": ", std::strerror(errno)));
}

absl::Status OutputFile::Append(absl::string_view bytes) {
  if (pipe_ != nullptr) {
    if (!pipe_->write(bytes.data(), static_cast<std::streamsize>(bytes.size()))) {
      return Error("write to");
    }
  } else if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) {
    return Error("write");
  }
  size_ += static_cast<int64_t>(bytes.size());
  return absl::OkStatus();
}

absl::Status OutputFile::Overwrite(int64_t offset, absl::string_view bytes) {
  if (fseeko(file_, offset, SEEK_SET) != 0 ||
      std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size() ||
      fseeko(file_, 0, SEEK_END) != 0) {
    return Error("write");
  }
  size_ = std::max(size_, offset + static_cast<int64_t>(bytes.size()));
  return absl::OkStatus();
}

absl::Status OutputFile::Shift(int64_t offset, int64_t bytes) {
  // A process that dies in the middle must leave what is kept as it was.
  return kept_ ? MoveToCopy(offset, bytes) : ShiftInPlace(offset, bytes);
}

absl::Status OutputFile::MoveToCopy(int64_t offset, int64_t bytes) {
  std::string temporary;
  std::FILE* copy = OpenBeside(path_, &temporary);
  if (copy == nullptr) return Error("write");
  std::FILE* const old = std::exchange(file_, copy);
  const int64_t old_size = std::exchange(size_, 0);
  // From here on this is as any output: the copy goes with the process, the kept file stays.
  const std::string kept = std::exchange(temporary_, std::move(temporary));
  kept_ = false;
  GuardAgainstSignals(temporary_.c_str());
  std::vector<char> block(1 << 20);
  absl::Status status = fseeko(old, 0, SEEK_SET) == 0 ? absl::OkStatus() : Error("read");
  for (int64_t at = 0; status.ok() && at < old_size;) {
    const int64_t end = at < offset ? std::min(offset, old_size) : old_size;
    const size_t length = std::min(block.size(), static_cast<size_t>(end - at));
    if (std::fread(block.data(), 1, length, old) != length) status = Error("read");
    if (status.ok()) status = Append({block.data(), length});
    at += static_cast<int64_t>(length);
    if (status.ok() && at == offset) status = Append(std::string(bytes, '\0'));
  }
  std::fclose(old);
  copied_from_ = kept;
  return status;
}

absl::Status OutputFile::ShiftInPlace(int64_t offset, int64_t bytes) {
  // From the end to the beginning, so that nothing is overwritten before it is read.
  std::vector<char> block(1 << 20);
  const int64_t old_size = size_;
  for (int64_t end = old_size; end > offset;) {
    const int64_t begin = std::max(offset, end - static_cast<int64_t>(block.size()));
    const size_t length = static_cast<size_t>(end - begin);
    if (fseeko(file_, begin, SEEK_SET) != 0 ||
        std::fread(block.data(), 1, length, file_) != length) {
      return Error("read");
    }
    absl::Status written = Overwrite(begin + bytes, {block.data(), length});
    if (!written.ok()) return written;
    end = begin;
  }
  return absl::OkStatus();
}

absl::Status OutputFile::Truncate(int64_t size) {
  if (pipe_ != nullptr) {
    if (size == size_) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        size_ - size, " bytes of rows that did not come to their end are in ", path_, " already"));
  }
  if (std::fflush(file_) != 0 || ftruncate(fileno(file_), size) != 0 ||
      fseeko(file_, size, SEEK_SET) != 0) {
    return Error("write");
  }
  size_ = size;
  return absl::OkStatus();
}

absl::Status OutputFile::Sync() {
  if (pipe_ != nullptr) return pipe_->flush() ? absl::OkStatus() : Error("write to");
  if (std::fflush(file_) != 0 || fdatasync(fileno(file_)) != 0) return Error("write");
  return absl::OkStatus();
}

absl::Status OutputFile::Commit() {
  if (pipe_ != nullptr) return Sync();
  // It must be on the disk before the name says that it is whole. Whether it was written shows at
  // its closing at the latest.
  if (absl::Status synced = Sync(); !synced.ok()) return synced;
  absl::Status status =
      std::fclose(std::exchange(file_, nullptr)) == 0 ? absl::OkStatus() : Error("close");
  if (status.ok() && std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    status = Error("rename to");
  }
  if (!status.ok()) {
    Drop();
    return status;
  }
  if (!kept_) GuardAgainstSignals(nullptr);
  // What it was copied from may go when the new name is on the disk, not before.
  status = SyncFolderOf(path_);
  if (status.ok() && !copied_from_.empty()) unlink(copied_from_.c_str());
  return status;
}

void OutputFile::Drop() {
  if (kept_) return;
  unlink(temporary_.c_str());
  GuardAgainstSignals(nullptr);
}

}  // namespace longwave::cli
