#include "server/model_versions.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace longwave {
namespace {

namespace fs = std::filesystem;

// The number that a folder's name is; nullopt for signs, leading zeros and all other names.
std::optional<int64_t> VersionNumber(const std::string& name) {
  int64_t number = 0;
  if (!absl::SimpleAtoi(name, &number) || number < 0) return std::nullopt;
  if (absl::StrCat(number) != name) return std::nullopt;
  return number;
}

// What tells whether a file was written since: also when its size and time are the old ones, since
// the inode's own change time cannot be set.
std::string FileStamp(const fs::path& path) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) return "gone";
  return absl::StrCat(path.filename().string(), " ", info.st_dev, " ", info.st_ino, " ",
                      info.st_size, " ", info.st_mtim.tv_sec, ".", info.st_mtim.tv_nsec, " ",
                      info.st_ctim.tv_sec, ".", info.st_ctim.tv_nsec);
}

std::string FolderStamp(const std::string& path) {
  std::vector<std::string> stamps;
  std::error_code error;  // a folder that cannot be read has no files, and its loading says why
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    stamps.push_back(FileStamp(entry->path()));
  }
  std::sort(stamps.begin(), stamps.end());
  return absl::StrJoin(stamps, "\n");
}

std::vector<std::pair<int64_t, std::string>> NumberedFolders(const std::string& path) {
  std::vector<std::pair<int64_t, std::string>> folders;
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::optional<int64_t> number = VersionNumber(entry->path().filename().string());
    std::error_code ignored;
    if (number.has_value() && entry->is_directory(ignored)) {
      folders.emplace_back(*number, entry->path().string());
    }
  }
  return folders;
}

}  // namespace

bool HasVersions(const std::string& path) {
  std::error_code error;
  if (fs::exists(fs::path(path) / "config.json", error)) return false;
  return !NumberedFolders(path).empty();
}

std::vector<ModelVersion> ListVersions(const std::string& path) {
  auto folders = NumberedFolders(path);
  std::sort(folders.rbegin(), folders.rend());
  std::vector<ModelVersion> versions;
  for (auto& [number, folder] : folders) {
    std::string stamp = FolderStamp(folder);
    versions.push_back({absl::StrCat(number), std::move(folder), std::move(stamp)});
  }
  return versions;
}

ModelVersion PlainVersion(const std::string& path) { return {"", path, FolderStamp(path)}; }

const ModelVersion* NextVersion(absl::Span<const ModelVersion> found,
                                const VersionHistory& history) {
  for (const ModelVersion& version : found) {
    const auto failed = history.failed.find(version.path);
    const bool untried = failed == history.failed.end() || failed->second != version.stamp;
    if (history.serving.has_value() && version.path == history.serving->path) {
      return untried && version.stamp != history.serving->stamp ? &version : nullptr;
    }
    if (untried) return &version;
  }
  return nullptr;
}

}  // namespace longwave
