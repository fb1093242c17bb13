#include "server/model_versions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/server/temporary_folder.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Names(const std::vector<ModelVersion>& versions) {
  std::vector<std::string> names;
  for (const ModelVersion& version : versions) names.push_back(version.name);
  return names;
}

TEST(ListVersionsTest, WholeNumbersDescend) {
  const TemporaryFolder folder;
  for (const char* name : {"2", "10", "9", "0", "007", "+3", "-1", "1.5", "v4", "tmp-11",
                           "99999999999999999999", " 5"}) {
    folder.Write(std::string(name) + "/config.json", "{}");
  }
  folder.Write("12", "a file");
  EXPECT_TRUE(HasVersions(folder.path()));
  EXPECT_THAT(Names(ListVersions(folder.path())), ElementsAre("10", "9", "2", "0"));
}

TEST(ListVersionsTest, AModelFolderHasNoVersions) {
  const TemporaryFolder folder;
  EXPECT_FALSE(HasVersions(folder.path()));
  EXPECT_FALSE(HasVersions(folder.path() + "/none"));
  folder.Write("1/config.json", "{}");
  EXPECT_TRUE(HasVersions(folder.path()));
  folder.Write("config.json", "{}");
  EXPECT_FALSE(HasVersions(folder.path()));
}

TEST(ListVersionsTest, LinksAreFollowed) {
  const TemporaryFolder folder;
  folder.Write("stored/config.json", "{}");
  std::filesystem::create_directory(folder.path() + "/models");
  std::filesystem::create_directory_symlink(folder.path() + "/stored", folder.path() + "/models/3");
  EXPECT_THAT(Names(ListVersions(folder.path() + "/models")), ElementsAre("3"));
}

TEST(StampTest, EveryChangeOfAFileShows) {
  const TemporaryFolder folder;
  const auto stamp = [&] { return PlainVersion(folder.path()).stamp; };
  folder.Write("model.safetensors", "abc");
  const std::string first = stamp();
  EXPECT_EQ(stamp(), first);
  const auto written = std::filesystem::last_write_time(folder.path() + "/model.safetensors");
  folder.Write("replacement", "xyz");
  std::filesystem::rename(folder.path() + "/replacement", folder.path() + "/model.safetensors");
  std::filesystem::last_write_time(folder.path() + "/model.safetensors", written);
  const std::string replaced = stamp();
  EXPECT_NE(replaced, first) << "same size and time, another file";
  folder.Write("longwave.json", "{}");
  EXPECT_NE(stamp(), replaced);
  std::filesystem::remove(folder.path() + "/longwave.json");
  EXPECT_EQ(stamp(), replaced);
}

// Versions as "NAME:STAMP", highest first.
std::vector<ModelVersion> Versions(const std::vector<std::string>& texts) {
  std::vector<ModelVersion> versions;
  for (const std::string& text : texts) {
    const size_t colon = text.find(':');
    const std::string name = text.substr(0, colon);
    versions.push_back({name, "/m/" + name, text.substr(colon + 1)});
  }
  return versions;
}

struct Choice {
  const char* what;
  std::vector<std::string> found;
  std::string serving;  // empty: none yet
  std::vector<std::string> failed;
  std::string next;  // empty: none
};

class NextVersionTest : public ::testing::TestWithParam<Choice> {};

TEST_P(NextVersionTest, Chooses) {
  const Choice& choice = GetParam();
  VersionHistory history;
  if (!choice.serving.empty()) history.serving = Versions({choice.serving}).front();
  for (const ModelVersion& failed : Versions(choice.failed)) {
    history.failed[failed.path] = failed.stamp;
  }
  const std::vector<ModelVersion> found = Versions(choice.found);
  const ModelVersion* next = NextVersion(found, history);
  EXPECT_EQ(next == nullptr ? "" : next->name + ":" + next->stamp, choice.next) << choice.what;
}

INSTANTIATE_TEST_SUITE_P(
    Table, NextVersionTest,
    ::testing::Values(
        Choice{"the highest at the start", {"3:a", "2:a", "1:a"}, "", {}, "3:a"},
        Choice{"nothing there", {}, "", {}, ""},
        Choice{"what failed at the start is passed over", {"3:a", "2:a"}, "", {"3:a"}, "2:a"},
        Choice{"all failed", {"3:a", "2:a"}, "", {"3:a", "2:a"}, ""},
        Choice{"the best serves", {"3:a", "2:a"}, "3:a", {}, ""},
        Choice{"a higher one", {"4:a", "3:a"}, "3:a", {}, "4:a"},
        Choice{"the highest of several", {"6:a", "5:a", "3:a"}, "3:a", {}, "6:a"},
        Choice{"a higher one that failed", {"4:a", "3:a"}, "3:a", {"4:a"}, ""},
        Choice{"the next below one that failed", {"5:a", "4:a", "3:a"}, "3:a", {"5:a"}, "4:a"},
        Choice{"one that failed and has changed", {"4:b", "3:a"}, "3:a", {"4:a"}, "4:b"},
        Choice{"a lower one never", {"3:a", "2:b"}, "3:a", {}, ""},
        Choice{"the one that serves has changed", {"3:b", "2:a"}, "3:a", {}, "3:b"},
        Choice{"it has changed for the worse", {"3:b", "2:a"}, "3:a", {"3:b"}, ""},
        Choice{"its folder is gone: back", {"2:a", "1:a"}, "3:a", {}, "2:a"},
        Choice{"back past one that failed", {"2:a", "1:a"}, "3:a", {"2:a"}, "1:a"},
        Choice{"everything is gone", {}, "3:a", {}, ""}));

}  // namespace
}  // namespace longwave
