#include "server/scheduling/batch_former.h"

#include <ostream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longwave {
namespace {

using Verdict = BatchFormer::Verdict;
using ::testing::ElementsAreArray;

WaitingShape Short(double seconds, int64_t tokens = 10, int64_t bytes = 10) {
  return {.tokens = tokens, .predicted = FromSeconds(seconds), .peak_bytes = bytes};
}
WaitingShape Due(double seconds, double left) {
  WaitingShape shape = Short(seconds);
  shape.left = FromSeconds(left);
  return shape;
}
WaitingShape Long(int64_t bytes) {
  return {.tokens = 10, .predicted = FromSeconds(9), .peak_bytes = bytes, .alone = true};
}

SchedulerOptions Options() {
  SchedulerOptions options;
  options.max_batch_seconds = 0.25;
  options.max_batch_tokens = 100;
  options.max_batch_sequences = 4;
  options.max_resident_bytes = 8000;  // a batch's share: 1000
  options.max_paused_jobs = 2;
  return options;
}

// Which of `waiting` make up the batch.
std::vector<int> Form(const std::vector<WaitingShape>& waiting, const StartRoom& room) {
  const SchedulerOptions options = Options();
  BatchFormer former(options, room);
  std::vector<int> taken;
  for (size_t i = 0; i < waiting.size(); ++i) {
    const Verdict verdict = former.Consider(waiting[i]);
    if (verdict == Verdict::kFull) break;
    if (verdict == Verdict::kTake) taken.push_back(static_cast<int>(i));
  }
  return taken;
}

struct FormCase {
  std::string name;
  std::vector<WaitingShape> waiting;
  std::vector<int> taken;
  StartRoom room = {.long_bytes = 8000, .batch_bytes = 8000};
};
void PrintTo(const FormCase& c, std::ostream* out) { *out << c.name; }

class BatchFormerTest : public ::testing::TestWithParam<FormCase> {};

TEST_P(BatchFormerTest, Takes) {
  EXPECT_THAT(Form(GetParam().waiting, GetParam().room), ElementsAreArray(GetParam().taken));
}

INSTANTIATE_TEST_SUITE_P(
    Table, BatchFormerTest,
    ::testing::Values(
        FormCase{"NothingFromNothing", {}, {}},
        FormCase{"OneThatIsThereGoesAtOnce", {Short(0.01)}, {0}},
        FormCase{"TimeUpToTheLimit", {Short(0.125), Short(0.125), Short(0.001)}, {0, 1}},
        FormCase{"TimeJustAboveTheLimit", {Short(0.125), Short(0.126), Short(0.125)}, {0, 2}},
        // A deadline in 0.1 s leaves room for 0.08 s of work together.
        FormCase{
            "NoMatesThatWouldMakeTheFirstLate", {Due(0.03, 0.1), Short(0.05), Short(0.01)}, {0, 1}},
        FormCase{
            "NoMateThatWouldBeLateItself", {Short(0.05), Due(0.04, 0.1), Due(0.02, 0.1)}, {0, 2}},
        FormCase{"OneThatIsLateGoesAlone", {Due(0.2, 0.1), Short(0.001)}, {0}},
        FormCase{"TokensUpToTheLimit", {Short(0, 60), Short(0, 40), Short(0, 1)}, {0, 1}},
        FormCase{"TokensJustAboveTheLimit", {Short(0, 60), Short(0, 41), Short(0, 40)}, {0, 2}},
        FormCase{"SequencesUpToTheLimit",
                 {Short(0), Short(0), Short(0), Short(0), Short(0)},
                 {0, 1, 2, 3}},
        FormCase{
            "BytesUpToABatchsShare", {Short(0, 1, 600), Short(0, 1, 400), Short(0, 1, 1)}, {0, 1}},
        FormCase{"BytesUpToTheRoom",
                 {Short(0, 1, 50), Short(0, 1, 51), Short(0, 1, 50)},
                 {0, 2},
                 {.long_bytes = 0, .batch_bytes = 100}},
        FormCase{"ALongOneHasNoMates", {Long(10), Short(0.01)}, {0}},
        FormCase{"ALongOneIsNoMate", {Short(0.01), Long(10), Short(0.01)}, {0, 2}},
        FormCase{"ALongOneAtItsRoom", {Long(100)}, {0}, {.long_bytes = 100, .batch_bytes = -1}},
        FormCase{"AShortOneGoesWhereALongOneHasNoRoom",
                 {Long(101), Short(0.01), Short(0.01)},
                 {1, 2},
                 {.long_bytes = 100, .batch_bytes = 100}},
        FormCase{"NoLongOnePassesALongOneThatWaitsForRoom",
                 {Long(101), Long(1)},
                 {},
                 {.long_bytes = 100, .batch_bytes = 100}},
        FormCase{
            "NoRoomAtAll", {Short(0, 1, 0), Long(0)}, {}, {.long_bytes = -1, .batch_bytes = -1}}),
    [](const auto& test) { return test.param.name; });

TEST(BatchFormerLimits, LooksOnlySoFarForMates) {
  std::vector<WaitingShape> waiting(300, Short(0.2));
  waiting.push_back(Short(0.01));
  EXPECT_THAT(Form(waiting, {.long_bytes = 0, .batch_bytes = 8000}), ElementsAreArray({0}));
}

TEST(RidesAloneTest, LongStreamedOrLarge) {
  const SchedulerOptions options = Options();
  const CostPrediction small{.seconds = 0.25, .peak_bytes = 1000};
  EXPECT_FALSE(RidesAlone(small, 100, false, options));
  EXPECT_TRUE(RidesAlone(small, 100, true, options));
  EXPECT_TRUE(RidesAlone(small, 101, false, options));
  EXPECT_TRUE(RidesAlone({.seconds = 0.2501, .peak_bytes = 1000}, 100, false, options));
  EXPECT_TRUE(RidesAlone({.seconds = 0.25, .peak_bytes = 1001}, 100, false, options));
}

struct RoomCase {
  HeldJobs held;
  int64_t long_bytes;
  int64_t batch_bytes;
  int64_t impatient_peak = 0;
  int64_t impatient_bytes = 0;
};

TEST(RoomForTest, Table) {
  const std::vector<RoomCase> cases = {
      // One job always runs, whatever it needs.
      {{}, 8000, 8000},
      // Long ones leave a batch's share free.
      {{.jobs = 1, .batches = 0, .bytes = 3000, .long_bytes = 3000}, 4000, 5000},
      {{.jobs = 1, .batches = 0, .bytes = 7000, .long_bytes = 7000}, 0, 1000},
      // Where one long job fills the memory, one batch may still run beside it.
      {{.jobs = 1, .batches = 0, .bytes = 8000, .long_bytes = 8000}, -1000, 1000},
      {{.jobs = 2, .batches = 1, .bytes = 9000, .long_bytes = 8000}, -1, -1000},
      // A batch in progress does not count against long ones.
      {{.jobs = 1, .batches = 1, .bytes = 1000, .long_bytes = 0}, 7000, 7000},
      // The last place is kept for a batch.
      {{.jobs = 2, .batches = 0, .bytes = 200, .long_bytes = 200}, -1, 7800},
      {{.jobs = 3, .batches = 1, .bytes = 300, .long_bytes = 200}, -1, -1},
      // One that has been passed too often holds up other long ones, whether it fits or not.
      {{.jobs = 1, .bytes = 3000, .long_bytes = 3000}, -1, 5000, 4000, 4000},
      {{.jobs = 1, .bytes = 3000, .long_bytes = 3000}, -1, 5000, 4001, 4000},
      {{}, -1, 8000, 8000, 8000},
      // But nobody while it has to wait for readers.
      {{.jobs = 1, .bytes = 3000, .long_bytes = 3000, .blocked_bytes = 1000}, -1, 5000, 6000, 4000},
      {{.jobs = 1, .bytes = 3000, .long_bytes = 3000, .blocked_bytes = 1000},
       4000,
       5000,
       6001,
       4000}};
  for (const RoomCase& c : cases) {
    const StartRoom room = RoomFor(c.held, Options(), c.impatient_peak);
    SCOPED_TRACE(&c - cases.data());
    EXPECT_EQ(room.long_bytes, c.long_bytes);
    EXPECT_EQ(room.batch_bytes, c.batch_bytes);
    EXPECT_EQ(room.impatient_bytes, c.impatient_peak > 0 ? c.impatient_bytes : c.long_bytes);
  }
}

}  // namespace
}  // namespace longwave
