#include "client/cli/input_list.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/unit/client/cli/temp_folder.h"

namespace longwave::cli {
namespace {

using Strings = std::vector<std::string>;

class InputListTest : public testing::Test {
 protected:
  void File(const std::string& name) {
    const std::filesystem::path path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << "x";
  }
  // Below the folder, without its own path.
  Strings List(const FileFilter& filter = {}) const {
    Strings names;
    for (const InputFile& file : ListInputs({folder_.path()}, filter)) {
      EXPECT_TRUE(file.status.ok()) << file.status;
      names.push_back(file.path.substr(folder_.path().size() + 1));
    }
    return names;
  }

  TempFolder folder_;
};

TEST_F(InputListTest, GoesThroughDirectoriesInOrder) {
  for (const char* name : {"b.txt", "a/z.txt", "a/b/c.txt", "a.txt", "B.txt"}) File(name);
  EXPECT_EQ(List(), (Strings{"B.txt", "a.txt", "a/b/c.txt", "a/z.txt", "b.txt"}));
}

TEST_F(InputListTest, PassesOverHiddenNames) {
  for (const char* name : {".git/config", "a/.x", "a/y"}) File(name);
  EXPECT_EQ(List(), Strings{"a/y"});
}

TEST_F(InputListTest, LeavesOutWhatTheProgramWritesUnderAnyName) {
  for (const char* name : {"a", "out.npy", "sub/b"}) File(name);
  std::filesystem::create_hard_link(folder_ / "out.npy", folder_ / "sub/same");
  const Strings without = {folder_ / "sub/../out.npy", folder_ / "not there"};
  EXPECT_EQ(List({.without = without}), (Strings{"a", "sub/b"}));
}

TEST_F(InputListTest, LinksMakeNoLoops) {
  File("a/x");
  std::filesystem::create_directory_symlink(folder_.path(), folder_ / "a/up");
  std::filesystem::create_symlink("x", folder_ / "a/link");
  std::filesystem::create_symlink("nowhere", folder_ / "a/dangling");
  EXPECT_EQ(List(), (Strings{"a/link", "a/x"}));
  // A link that is named is followed.
  EXPECT_EQ(ListInputs({folder_ / "a/up"}, {}).size(), 2);
}

TEST_F(InputListTest, FiltersByNameAndByPath) {
  for (const char* name : {"a.txt", "b.md", "s/c.txt", "s/t/d.txt"}) File(name);
  EXPECT_EQ(List({.include = {"*.txt"}}), (Strings{"a.txt", "s/c.txt", "s/t/d.txt"}));
  EXPECT_EQ(List({.include = {"*.md", "c*"}}), (Strings{"b.md", "s/c.txt"}));
  EXPECT_EQ(List({.exclude = {"*.txt"}}), Strings{"b.md"});
  EXPECT_EQ(List({.include = {"*.txt"}, .exclude = {"s/t/*"}}), (Strings{"a.txt", "s/c.txt"}));
}

TEST_F(InputListTest, FilesAndStandardInputAreAsTheyAreNamed) {
  File("x.bin");
  const auto files = ListInputs({"-", folder_ / "x.bin", "missing"}, {.include = {"*.txt"}});
  ASSERT_EQ(files.size(), 3);
  EXPECT_EQ(files[0].path, "-");
  EXPECT_EQ(files[1].path, folder_ / "x.bin");
  EXPECT_EQ(files[2].path, "missing");
}

TEST_F(InputListTest, SaysThatADirectoryHasNothing) {
  const auto files = ListInputs({folder_.path()}, {});
  ASSERT_EQ(files.size(), 1);
  EXPECT_EQ(files[0].status.message(),
            "cannot read " + folder_.path() + ": there is no file in it that is wanted");
}

}  // namespace
}  // namespace longwave::cli
