#include "client/cli/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/folder_sync.h"
#include "client/cli/journal_line.h"

namespace longwave::cli {
namespace {

// FNV-1a, 64 bits.
class Hash {
 public:
  void Add(uint32_t word) {
    for (int shift = 0; shift < 32; shift += 8) {
      value_ = (value_ ^ (word >> shift & 0xFF)) * 0x100000001B3u;
    }
  }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0xCBF29CE484222325u;
};

std::string Entry(const Journal::Identity& identity, const std::string& key) {
  const auto found = identity.find(key);
  return found == identity.end() ? "nothing" : absl::StrCat("'", found->second, "'");
}

absl::Status CheckSame(const std::string& path, const Journal::Identity& kept,
                       const Journal::Identity& wanted) {
  Journal::Identity keys = wanted;
  keys.insert(kept.begin(), kept.end());
  for (const auto& [key, value] : keys) {
    if (Entry(kept, key) == Entry(wanted, key)) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        path, " was begun with ", key, " ", Entry(kept, key), ", and this run has ",
        Entry(wanted, key), "; run as before, or remove it and the output's .part to begin anew"));
  }
  return absl::OkStatus();
}

}  // namespace

uint64_t HashDocument(const Document& document) {
  Hash hash;
  for (const uint32_t id : document.ids) hash.Add(id);
  // So that no id passes for a span.
  hash.Add(static_cast<uint32_t>(document.ids.size()));
  for (const client::TokenSpan& span : document.spans) {
    hash.Add(span.begin);
    hash.Add(span.end);
  }
  return hash.value();
}

Journal::~Journal() {
  if (file_ != nullptr) std::fclose(file_);
}

absl::Status Journal::Error(const char* what) const {
  return absl::InternalError(absl::StrCat("cannot ", what, " ", path_, ": ", std::strerror(errno)));
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::Open(const std::string& output,
                                                       const Identity& identity) {
  const std::string path = PathOf(output);
  const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  std::FILE* file = descriptor < 0 ? nullptr : fdopen(descriptor, "r+b");
  if (file == nullptr) {
    return absl::InternalError(absl::StrCat("cannot write ", path, ": ", std::strerror(errno)));
  }
  std::unique_ptr<Journal> journal(new Journal(path, file));
  if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is in use by another process that writes ", output));
  }
  absl::Status loaded = journal->Load(identity);
  if (!loaded.ok()) return loaded;
  return journal;
}

absl::Status Journal::Load(const Identity& identity) {
  char* line = nullptr;
  size_t room = 0;
  int64_t good = 0;  // bytes that are whole lines
  absl::Status status;
  bool rubbish = false;  // a whole line, and not one of ours
  while (status.ok() && !rubbish) {
    const ssize_t length = getline(&line, &room, file_);
    if (length <= 0) break;
    if (line[length - 1] != '\n') {
      // It was not written to its end. Of a first line that must be seen: of another kind of file
      // it may be all there is.
      const absl::string_view torn(line, static_cast<size_t>(length));
      rubbish = good == 0 && !absl::StartsWith(JournalLine(identity), torn);
      break;
    }
    const absl::string_view text(line, static_cast<size_t>(length - 1));
    if (good == 0) {
      const auto kept = ParseIdentityLine(text);
      rubbish = !kept.has_value();
      if (!rubbish) status = CheckSame(path_, *kept, identity);
    } else {
      auto record = ParseRecordLine(text);
      rubbish = !record.has_value();
      if (!rubbish) records_.push_back(*std::move(record));
    }
    if (!rubbish) good += length;
  }
  std::free(line);
  if (status.ok() && std::ferror(file_)) status = Error("read");
  if (!status.ok()) return status;
  // A file of another kind must not be lost to a slip of the name.
  if (good == 0 && rubbish) {
    return absl::FailedPreconditionError(absl::StrCat(
        path_,
        " is no journal, or its first line is damaged; remove it and the output's .part to "
        "begin anew"));
  }
  return StartAt(good, identity);
}

absl::Status Journal::StartAt(int64_t size, const Identity& identity) {
  if (ftruncate(fileno(file_), size) != 0 || fseeko(file_, size, SEEK_SET) != 0) {
    return Error("write");
  }
  if (size > 0) return absl::OkStatus();
  absl::Status written = Write(JournalLine(identity));
  return written.ok() ? SyncFolderOf(path_) : written;
}

absl::Status Journal::Write(const std::string& lines) {
  if (std::fwrite(lines.data(), 1, lines.size(), file_) != lines.size() ||
      std::fflush(file_) != 0 || fdatasync(fileno(file_)) != 0) {
    return Error("write");
  }
  return absl::OkStatus();
}

absl::Status Journal::Append(absl::Span<const JournalRecord> records) {
  std::string lines;
  for (const JournalRecord& record : records) lines.append(JournalLine(record));
  return Write(lines);
}

absl::Status Journal::Remove() {
  if (unlink(path_.c_str()) != 0) return Error("remove");
  return SyncFolderOf(path_);
}

}  // namespace longwave::cli
