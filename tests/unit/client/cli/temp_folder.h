#ifndef LONGWAVE_TESTS_UNIT_CLIENT_CLI_TEMP_FOLDER_H_
#define LONGWAVE_TESTS_UNIT_CLIENT_CLI_TEMP_FOLDER_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <iterator>
#include <string>

namespace longwave::cli {

// A folder of this test alone, gone with it.
class TempFolder {
 public:
  TempFolder() : path_(testing::TempDir() + "/longwave-XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) std::abort();
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  // How many names there are in it.
  int Files() const {
    return static_cast<int>(std::distance(std::filesystem::directory_iterator(path_),
                                          std::filesystem::directory_iterator()));
  }

 private:
  std::string path_;
};

}  // namespace longwave::cli

#endif  // LONGWAVE_TESTS_UNIT_CLIENT_CLI_TEMP_FOLDER_H_
