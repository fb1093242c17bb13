#include "client/cli/input_list.h"

#include <fnmatch.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/read_error.h"

namespace longwave::cli {
namespace {

namespace fs = std::filesystem;

bool Fits(const std::vector<std::string>& patterns, const std::string& path_below) {
  const std::string name = path_below.substr(path_below.rfind('/') + 1);
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    const bool whole = pattern.find('/') != std::string::npos;
    return fnmatch(pattern.c_str(), (whole ? path_below : name).c_str(), 0) == 0;
  });
}

using FileId = std::pair<dev_t, ino_t>;

std::optional<FileId> IdOf(const std::string& path) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0) return std::nullopt;
  return FileId{status.st_dev, status.st_ino};
}

struct Wanted {
  explicit Wanted(const FileFilter& file_filter) : filter(file_filter) {
    for (const std::string& path : filter.without) {
      if (const auto id = IdOf(path); id.has_value()) without.insert(*id);
    }
  }
  bool operator()(const std::string& path, const std::string& path_below) const {
    if (!filter.Wants(path_below)) return false;
    if (without.empty()) return true;
    const auto id = IdOf(path);
    return !id.has_value() || !without.contains(*id);
  }

  const FileFilter& filter;
  std::set<FileId> without;
};

// Everything below `folder`, in no order. `below`: the folder's own path below what was named.
void Walk(const std::string& folder, const std::string& below, const Wanted& wanted,
          std::vector<InputFile>* found) {
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name[0] == '.') continue;
    const std::string path = (fs::path(folder) / name).string();
    std::error_code ignored;
    if (entry->is_directory(ignored)) {
      if (!entry->is_symlink(ignored)) Walk(path, absl::StrCat(below, name, "/"), wanted, found);
    } else if (entry->is_regular_file(ignored) && wanted(path, below + name)) {
      found->push_back({path, absl::OkStatus()});
    }
  }
  if (error) found->push_back({folder, CannotRead(folder, error.message())});
}

}  // namespace

bool FileFilter::Wants(const std::string& path_below) const {
  return (include.empty() || Fits(include, path_below)) && !Fits(exclude, path_below);
}

std::vector<InputFile> ListInputs(const std::vector<std::string>& inputs,
                                  const FileFilter& filter) {
  std::vector<InputFile> files;
  const Wanted wanted(filter);
  for (const std::string& input : inputs) {
    std::error_code ignored;
    if (input == "-" || !fs::is_directory(input, ignored)) {
      files.push_back({input, absl::OkStatus()});
      continue;
    }
    std::vector<InputFile> found;
    Walk(input, "", wanted, &found);
    if (found.empty()) {
      found.push_back({input, CannotRead(input, "there is no file in it that is wanted")});
    }
    std::sort(found.begin(), found.end(),
              [](const InputFile& a, const InputFile& b) { return a.path < b.path; });
    files.insert(files.end(), std::make_move_iterator(found.begin()),
                 std::make_move_iterator(found.end()));
  }
  return files;
}

}  // namespace longwave::cli
