#include "client/cli/load_arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "tests/unit/client/cli/temp_folder.h"

namespace longwave::cli {
namespace {

using testing::HasSubstr;

std::string Problem(const std::vector<std::string>& arguments) {
  const auto parsed = ParseLoad(arguments);
  return parsed.ok() ? "none" : std::string(parsed.status().message());
}

TEST(ParseLoadTest, HasDefaults) {
  const auto parsed = ParseLoad({});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->targets, std::vector<std::string>{"127.0.0.1:50051"});
  ASSERT_EQ(parsed->groups.size(), 1u);
  const LoadGroup& group = parsed->groups[0];
  ASSERT_EQ(group.traffic.phases.size(), 1u);
  EXPECT_EQ(group.traffic.phases[0].calls_per_second, 10);
  EXPECT_EQ(group.traffic.phases[0].seconds, 10);
  EXPECT_EQ(group.traffic.lengths.text(), "512");
  EXPECT_TRUE(std::isinf(group.calls.deadline_seconds));
  EXPECT_EQ(parsed->warmup_seconds, 1);
  EXPECT_FALSE(parsed->retries);
}

TEST(ParseLoadTest, GroupsTakeWhatTheyDoNotSayFromTheOptionsWhateverTheirOrder) {
  const auto parsed = ParseLoad({"--group", "name=a,rate=100@4+5@6,priority=batch,tenant=t,arrivals=even",
                                 "--group=tokens=7,deadline=none,cancel=0.5@0.01,documents=3",
                                 "--deadline", "0.25", "--tokens", "128:8+4096:1", "--seconds=20"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->groups.size(), 2u);
  const LoadGroup& a = parsed->groups[0];
  EXPECT_EQ(a.name, "a");
  ASSERT_EQ(a.traffic.phases.size(), 2u);
  EXPECT_EQ(a.traffic.phases[0].calls_per_second, 100);
  EXPECT_EQ(a.traffic.phases[0].seconds, 4);
  EXPECT_EQ(a.traffic.phases[1].calls_per_second, 5);
  EXPECT_EQ(a.traffic.phases[1].seconds, 6);
  EXPECT_EQ(a.traffic.lengths.text(), "128:8+4096:1");
  EXPECT_EQ(a.calls.deadline_seconds, 0.25);
  EXPECT_EQ(a.calls.priority, v1::PRIORITY_BATCH);
  EXPECT_EQ(a.calls.tenant, "t");
  EXPECT_EQ(a.traffic.arrivals, load::Arrivals::kEven);
  const LoadGroup& b = parsed->groups[1];
  EXPECT_EQ(b.name, "group2");
  EXPECT_EQ(b.traffic.phases[0].seconds, 20);
  EXPECT_EQ(b.traffic.lengths.text(), "7");
  EXPECT_TRUE(std::isinf(b.calls.deadline_seconds));
  EXPECT_EQ(b.traffic.cancel_share, 0.5);
  EXPECT_EQ(b.traffic.cancel_within_seconds, 0.01);
  EXPECT_EQ(b.traffic.documents, 3u);
}

TEST(ParseLoadTest, EveryGroupMayHaveItsOwnKey) {
  TempFolder folder;
  std::ofstream(folder / "key") << "s3cret\n";
  const auto parsed = ParseLoad({"--group", "api_key_file=" + std::string(folder / "key"),
                                 "--group", "metadata=X-Colour:red:green"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->groups[0].calls.api_key, "s3cret");
  EXPECT_EQ(parsed->groups[1].calls.api_key, "");
  ASSERT_EQ(parsed->groups[1].calls.metadata.size(), 1u);
  EXPECT_EQ(parsed->groups[1].calls.metadata[0].first, "x-colour");
  EXPECT_EQ(parsed->groups[1].calls.metadata[0].second, "red:green");
  EXPECT_THAT(Problem({"--group", "api_key_file=" + std::string(folder / "none")}),
              HasSubstr("cannot be read"));
}

TEST(ParseLoadTest, TargetsMayBeSeveral) {
  const auto parsed = ParseLoad({"--target=127.0.0.1:1", "--server", "127.0.0.1:2"});
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->targets, (std::vector<std::string>{"127.0.0.1:1", "127.0.0.1:2"}));
}

TEST(ParseLoadTest, SaysWhatIsWrong) {
  EXPECT_THAT(Problem({"--rate", "-1"}), HasSubstr("--rate -1"));
  EXPECT_THAT(Problem({"--rate", "1@"}), HasSubstr("2000@60+140@20"));
  EXPECT_THAT(Problem({"--rate", "1@2@3"}), HasSubstr("2000@60+140@20"));
  EXPECT_THAT(Problem({"--arrivals", "odd"}), HasSubstr("poisson nor even"));
  EXPECT_THAT(Problem({"--tokens", "0"}), HasSubstr("bimodal:SHORT:LONG"));
  EXPECT_THAT(Problem({"--deadline", "0"}), HasSubstr("nor none"));
  EXPECT_THAT(Problem({"--cancel", "2@1"}), HasSubstr("0.5@0.01"));
  EXPECT_THAT(Problem({"--documents", "0"}), HasSubstr("1 to 65536"));
  EXPECT_THAT(Problem({"--metadata", "key"}), HasSubstr("KEY:VALUE"));
  EXPECT_THAT(Problem({"--group", "rate"}), HasSubstr("--group rate"));
  EXPECT_THAT(Problem({"--group", "speed=1"}), HasSubstr("no field of a group"));
  EXPECT_THAT(Problem({"--find-capacity"}), HasSubstr("--deadline"));
  EXPECT_THAT(Problem({"--find-capacity", "--deadline=2"}), HasSubstr("10 deadlines"));
  EXPECT_THAT(Problem({"--warmup", "10"}), HasSubstr("no time to measure"));
  EXPECT_THAT(Problem({"--seconds", "nan"}), HasSubstr("--seconds nan"));
  EXPECT_THAT(Problem({"--priority", "high"}), HasSubstr("interactive"));
  EXPECT_THAT(Problem({"file"}), HasSubstr("unexpected argument file"));
}

}  // namespace
}  // namespace longwave::cli
