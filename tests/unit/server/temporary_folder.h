#ifndef LONGWAVE_TESTS_UNIT_SERVER_TEMPORARY_FOLDER_H_
#define LONGWAVE_TESTS_UNIT_SERVER_TEMPORARY_FOLDER_H_

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace longwave {

// A folder that lives as long as the test.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "longwave-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  // Writes a file, and makes the folders that it lies in.
  void Write(const std::string& name, const std::string& text) const {
    const std::filesystem::path file = std::filesystem::path(path_) / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  // In one step: the file or folder `name` to the same name below `other`.
  void MoveTo(const TemporaryFolder& other, const std::string& name) const {
    std::filesystem::rename(std::filesystem::path(path_) / name,
                            std::filesystem::path(other.path_) / name);
  }
  void Remove(const std::string& name) const {
    std::filesystem::remove_all(std::filesystem::path(path_) / name);
  }

 private:
  std::string path_;
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_SERVER_TEMPORARY_FOLDER_H_
