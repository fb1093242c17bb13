#include "server/security/reloader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/security/test_folder.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;

class ReloaderTest : public testing::Test {
 protected:
  ReloaderTest()
      : path_(folder_.Write("file", "first")),
        reloader_(
            "test_reload", {path_}, [this](const auto& contents) { return Take(contents); },
            nullptr) {}

  absl::Status Take(const std::vector<std::string>& contents) {
    ++attempts_;
    if (contents[0] == bad_) return absl::InvalidArgumentError(why_);
    taken_.push_back(contents[0]);
    return absl::OkStatus();
  }

  const TestFolder folder_;
  const std::string path_;
  std::string bad_ = "bad";
  std::string why_ = "bad";
  int attempts_ = 0;
  std::vector<std::string> taken_;
  Reloader reloader_;
};

TEST_F(ReloaderTest, LoadsOnceAndThenOnlyChanges) {
  ASSERT_TRUE(reloader_.Load().ok());
  reloader_.Look();
  reloader_.Look();
  EXPECT_THAT(taken_, ElementsAre("first"));
  EXPECT_EQ(reloader_.successes(), 0);
  folder_.Write("file", "second");
  reloader_.Look();
  reloader_.Look();
  EXPECT_THAT(taken_, ElementsAre("first", "second"));
  EXPECT_EQ(reloader_.successes(), 1);
  EXPECT_EQ(reloader_.failures(), 0);
}

TEST_F(ReloaderTest, WhatCannotBeUsedCountsOnceAndChangesNothing) {
  ASSERT_TRUE(reloader_.Load().ok());
  folder_.Write("file", "bad");
  reloader_.Look();
  reloader_.Look();
  EXPECT_EQ(reloader_.failures(), 1);
  std::filesystem::remove(path_);
  reloader_.Look();
  reloader_.Look();
  EXPECT_EQ(reloader_.failures(), 2);
  EXPECT_THAT(taken_, ElementsAre("first"));
}

TEST_F(ReloaderTest, WhatWasRefusedIsTriedAgainAndTakenWhenItsTimeHasCome) {
  ASSERT_TRUE(reloader_.Load().ok());
  folder_.Write("file", "bad");
  for (int look = 0; look < 3; ++look) reloader_.Look();
  EXPECT_EQ(attempts_, 1 + 3);
  EXPECT_EQ(reloader_.failures(), 1) << "told once";
  why_ = "bad for another reason";
  reloader_.Look();
  reloader_.Look();
  EXPECT_EQ(reloader_.failures(), 2);
  bad_ = "";
  reloader_.Look();
  reloader_.Look();
  EXPECT_THAT(taken_, ElementsAre("first", "bad"));
  EXPECT_EQ(reloader_.successes(), 1);
  EXPECT_EQ(reloader_.failures(), 2);
}

TEST_F(ReloaderTest, TheOldContentsComingBackAreTakenAgain) {
  ASSERT_TRUE(reloader_.Load().ok());
  folder_.Write("file", "bad");
  reloader_.Look();
  folder_.Write("file", "first");
  reloader_.Look();
  EXPECT_THAT(taken_, ElementsAre("first", "first"));
  EXPECT_EQ(reloader_.successes(), 1);
}

TEST_F(ReloaderTest, TheFirstTimeEverythingMustBeRight) {
  folder_.Write("file", "bad");
  EXPECT_FALSE(reloader_.Load().ok());
  EXPECT_EQ(reloader_.failures(), 0);
}

TEST_F(ReloaderTest, ALoopLooksByItself) {
  ASSERT_TRUE(reloader_.Load().ok());
  folder_.Write("file", "bad");
  ReloadLoop loop({&reloader_}, std::chrono::milliseconds(1));
  while (reloader_.failures() == 0) std::this_thread::yield();
}

TEST_F(ReloaderTest, ALoopEndsWithoutWaitingForItsInterval) {
  ReloadLoop loop({&reloader_}, std::chrono::hours(1));
}

}  // namespace
}  // namespace longwave
