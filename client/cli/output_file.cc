#include "client/cli/output_file.h"

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

namespace longwave::cli {
namespace {

constexpr int kFatalSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};

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

}  // namespace

OutputFile::OutputFile(std::string path, std::string temporary, std::FILE* file)
    : path_(std::move(path)), temporary_(std::move(temporary)), file_(file) {
  GuardAgainstSignals(temporary_.c_str());
}

OutputFile::~OutputFile() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  unlink(temporary_.c_str());
  GuardAgainstSignals(nullptr);
}

absl::StatusOr<std::unique_ptr<OutputFile>> OutputFile::Create(const std::string& path) {
  std::string temporary = path + ".part-XXXXXX";
  const int descriptor = mkstemp(temporary.data());
  std::FILE* file = descriptor < 0 ? nullptr : fdopen(descriptor, "w+b");
  if (file == nullptr) {
    return absl::InternalError(absl::StrCat("cannot write ", path, ": ", std::strerror(errno)));
  }
  SetUsualMode(descriptor);
  return std::unique_ptr<OutputFile>(new OutputFile(path, std::move(temporary), file));
}

absl::Status OutputFile::Error(const char* what) const {
  return absl::InternalError(absl::StrCat("cannot ", what, " ", path_, ": ", std::strerror(errno)));
}

absl::Status OutputFile::Append(absl::string_view bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) return Error("write");
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
  if (std::fflush(file_) != 0 || ftruncate(fileno(file_), size) != 0 ||
      fseeko(file_, size, SEEK_SET) != 0) {
    return Error("write");
  }
  size_ = size;
  return absl::OkStatus();
}

absl::Status OutputFile::Commit() {
  // A full disk shows at the last flush at the latest.
  if (std::fflush(file_) != 0) return Error("write");
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) return Error("rename to");
  const int closed = std::fclose(std::exchange(file_, nullptr));
  GuardAgainstSignals(nullptr);
  return closed == 0 ? absl::OkStatus() : Error("close");
}

}  // namespace longwave::cli
