#include "client/cli/output_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <csignal>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/unit/client/cli/temp_folder.h"

namespace longwave::cli {
namespace {

class OutputFileTest : public testing::Test {
 protected:
  std::string Content() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TempFolder folder_;
  const std::string path_ = folder_ / "x";
};

TEST_F(OutputFileTest, AppearsWhenCommitted) {
  std::ofstream(path_) << "older";
  {
    auto file = std::move(OutputFile::Create(path_)).value();
    ASSERT_TRUE(file->Append("whole").ok());
    EXPECT_EQ(Content(), "older");
    ASSERT_TRUE(file->Commit().ok());
  }
  EXPECT_EQ(Content(), "whole");
  EXPECT_EQ(folder_.Files(), 1);
  struct stat info{};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  const mode_t mask = umask(0);
  umask(mask);
  EXPECT_EQ(info.st_mode & 0777, 0666 & ~mask);
}

TEST_F(OutputFileTest, LeavesNothingBehindWhenDropped) {
  std::move(OutputFile::Create(path_)).value()->Append("half").IgnoreError();
  EXPECT_EQ(folder_.Files(), 0);
}

TEST_F(OutputFileTest, LeavesNothingBehindWhenASignalEndsTheProgram) {
  for (const int signal : {SIGINT, SIGTERM, SIGQUIT, SIGXFSZ}) {
    EXPECT_EXIT(
        {
          auto file = std::move(OutputFile::Create(path_)).value();
          file->Append("half").IgnoreError();
          if (folder_.Files() != 1) std::_Exit(1);
          std::raise(signal);
        },
        testing::KilledBySignal(signal), "");
    EXPECT_EQ(folder_.Files(), 0);
  }
}

TEST_F(OutputFileTest, CanBeChangedBeforeItIsCommitted) {
  auto file = std::move(OutputFile::Create(path_)).value();
  ASSERT_TRUE(file->Append("head-body-rest").ok());
  ASSERT_TRUE(file->Truncate(9).ok());
  ASSERT_TRUE(file->Append("!").ok());
  ASSERT_TRUE(file->Overwrite(0, "HEAD").ok());
  EXPECT_EQ(file->size(), 10);
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_EQ(Content(), "HEAD-body!");
}

TEST_F(OutputFileTest, ShiftsMoreThanOneBlock) {
  std::string body;
  for (int i = 0; i < 3'000'000; ++i) body.push_back(static_cast<char>(i * 31 >> 3));
  auto file = std::move(OutputFile::Create(path_)).value();
  ASSERT_TRUE(file->Append("head" + body).ok());
  ASSERT_TRUE(file->Shift(4, 1000).ok());
  EXPECT_EQ(file->size(), static_cast<int64_t>(4 + 1000 + body.size()));
  ASSERT_TRUE(file->Append("tail").ok());
  ASSERT_TRUE(file->Commit().ok());
  const std::string content = Content();
  EXPECT_EQ(content.substr(0, 4), "head");
  EXPECT_TRUE(content.substr(1004) == body + "tail");
}

TEST_F(OutputFileTest, SaysWhereItCannotWrite) {
  const auto file = OutputFile::Create("/nonexistent/folder/x.npy");
  ASSERT_FALSE(file.ok());
  EXPECT_NE(file.status().message().find("/nonexistent/folder/x.npy"), std::string::npos);
}

TEST_F(OutputFileTest, WhatIsKeptStaysAndIsTakenUpAgain) {
  {
    auto file = std::move(OutputFile::CreateKept(path_, 0)).value();
    ASSERT_TRUE(file->Append("known and unknown").ok());
    ASSERT_TRUE(file->Sync().ok());
  }
  const auto missing = OutputFile::CreateKept(path_, 100);
  EXPECT_EQ(missing.status().message(), path_ + ".part has 17 bytes of 100");
  auto file = std::move(OutputFile::CreateKept(path_, 5)).value();
  ASSERT_TRUE(file->Append("!").ok());
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_EQ(Content(), "known!");
  EXPECT_EQ(folder_.Files(), 1);
}

// The kept file must be whole at every moment: a process may die in the middle of a shift.
TEST_F(OutputFileTest, AShiftLeavesTheKeptFileAlone) {
  auto file = std::move(OutputFile::CreateKept(path_, 0)).value();
  ASSERT_TRUE(file->Append("headrest").ok());
  ASSERT_TRUE(file->Sync().ok());
  ASSERT_TRUE(file->Shift(4, 2).ok());
  ASSERT_TRUE(file->Overwrite(0, "HEADER").ok());
  std::ifstream kept(OutputFile::KeptPath(path_), std::ios::binary);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(kept), {}), "headrest");
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_EQ(Content(), "HEADERrest");
  EXPECT_EQ(folder_.Files(), 1);
}

}  // namespace
}  // namespace longwave::cli
