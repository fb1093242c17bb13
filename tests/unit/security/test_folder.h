#ifndef LONGWAVE_TESTS_UNIT_SECURITY_TEST_FOLDER_H_
#define LONGWAVE_TESTS_UNIT_SECURITY_TEST_FOLDER_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace longwave {

// A folder of this test alone, gone with it.
class TestFolder {
 public:
  TestFolder() : path_(testing::TempDir() + "/longwave-XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) std::abort();
  }
  ~TestFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  // Writes in place, as careless tools do. Returns the path.
  std::string Write(const std::string& name, const std::string& text) const {
    const std::string path = *this / name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
    return path;
  }

 private:
  std::string path_;
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_SECURITY_TEST_FOLDER_H_
