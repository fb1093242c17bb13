#include "server/security/file_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/unit/security/test_folder.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(FileGroupTest, ContentsInTheOrderOfThePaths) {
  const TestFolder folder;
  const auto contents = ReadFileGroup(
      {folder.Write("b", std::string("two\0", 4)), folder.Write("a", ""), folder.Write("c", "3")});
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_THAT(*contents, ElementsAre(std::string("two\0", 4), "", "3"));
}

TEST(FileGroupTest, OneFileThatIsNotThereFailsTheGroup) {
  const TestFolder folder;
  const std::string there = folder.Write("there", "x");
  const auto contents = ReadFileGroup({there, folder / "missing"});
  EXPECT_THAT(std::string(contents.status().message()), HasSubstr("missing"));
}

TEST(FileGroupTest, WhatIsNoFileOrTooLargeIsRefused) {
  const TestFolder folder;
  EXPECT_FALSE(ReadFileGroup({folder / "."}).ok());
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_FALSE(ReadFileGroup({folder / "pipe"}).ok());  // and does not wait for a writer
  EXPECT_TRUE(ReadFileGroup({folder.Write("most", std::string(kMaxSecurityFileBytes, 'x'))}).ok());
  EXPECT_FALSE(
      ReadFileGroup({folder.Write("more", std::string(kMaxSecurityFileBytes + 1, 'x'))}).ok());
}

TEST(FileGroupTest, AFolderThatIsSwappedBehindALinkIsReadAsAWhole) {
  const TestFolder folder;
  folder.Write("one/a", "1");
  folder.Write("one/b", "1");
  folder.Write("two/a", "2");
  folder.Write("two/b", "2");
  std::filesystem::create_directory_symlink("one", folder / "..data");
  const std::vector<std::string> paths = {folder / "..data/a", folder / "..data/b"};
  EXPECT_THAT(*ReadFileGroup(paths), ElementsAre("1", "1"));
  std::filesystem::create_directory_symlink("two", folder / "..next");
  std::filesystem::rename(folder / "..next", folder / "..data");
  EXPECT_THAT(*ReadFileGroup(paths), ElementsAre("2", "2"));
}

}  // namespace
}  // namespace longwave
