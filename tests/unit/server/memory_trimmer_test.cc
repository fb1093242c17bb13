#include "server/memory_trimmer.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "model/base/clock.h"

namespace longwave {
namespace {

constexpr int64_t kMib = int64_t{1} << 20;

int64_t ResidentBytes() {
  int64_t size = 0;
  int64_t resident = 0;
  std::ifstream("/proc/self/statm") >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

bool AllocatorIsOfGlibc() {
  constexpr size_t kBytes = 64 << 10;
  const size_t before = mallinfo2().uordblks;
  const auto chunk = std::make_unique<char[]>(kBytes);
  return mallinfo2().uordblks >= before + kBytes;
}

// Memory of which a part is in use; of the rest, which lies free in the allocator, some cannot be
// given back.
class MemoryTrimmerTest : public testing::Test {
 protected:
  void LookAfter(double seconds, bool idle = true) {
    now_ += FromSeconds(seconds);
    trimmer_.Look(now_, idle);
  }
  // Looks once, so that only what comes later is to be gained.
  void Start() {
    LookAfter(1);
    LookAfter(MemoryTrimmer::kPauseSeconds);
    trims_ = questions_ = 0;
  }

  int64_t used_ = 20 * kMib;
  int64_t free_ = 0;    // resident
  int64_t pinned_ = 0;  // free too, and resident for ever
  int64_t gone_ = 0;    // free too, and given back
  int trims_ = 0;
  int questions_ = 0;
  Instant now_ = Instant{} + FromSeconds(1000);
  MemoryTrimmer trimmer_{{[this] { return used_ + free_ + pinned_; },
                          [this] {
                            ++questions_;
                            return free_ + pinned_ + gone_;
                          },
                          [this] {
                            ++trims_;
                            gone_ += std::exchange(free_, 0);
                          }}};
};

TEST_F(MemoryTrimmerTest, GivesBackOnceWhatStartingHasLeft) {
  free_ = 100 * kMib;
  for (int i = 0; i < 100; ++i) LookAfter(1);
  EXPECT_EQ(trims_, 1);
  EXPECT_EQ(free_, 0);
}

TEST_F(MemoryTrimmerTest, LeavesASteadyProcessAlone) {
  Start();
  for (int i = 0; i < 100; ++i) LookAfter(1);
  free_ = MemoryTrimmer::kSpareBytes - 1;
  for (int i = 0; i < 100; ++i) LookAfter(1);
  EXPECT_EQ(trims_, 0);
  EXPECT_EQ(questions_, 0);
}

TEST_F(MemoryTrimmerTest, GivesBackWhatAFloodLeft) {
  Start();
  free_ = 1800 * kMib;
  LookAfter(1);
  EXPECT_EQ(trims_, 1);
  EXPECT_EQ(free_, 0);
}

TEST_F(MemoryTrimmerTest, EveryFloodButNotAllTheTime) {
  Start();
  for (int flood = 0; flood < 20; ++flood) {
    free_ = 500 * kMib;
    LookAfter(1);
  }
  EXPECT_EQ(trims_, 2);  // the first and the eleventh
}

TEST_F(MemoryTrimmerTest, WorkIsHeldUpOnlyForMuch) {
  Start();
  free_ = MemoryTrimmer::kBusySpareBytes - 1;
  LookAfter(1, /*idle=*/false);
  EXPECT_EQ(trims_, 0);
  free_ = MemoryTrimmer::kBusySpareBytes;
  LookAfter(1, /*idle=*/false);
  EXPECT_EQ(trims_, 1);
}

TEST_F(MemoryTrimmerTest, WhatIsInUseIsNotTrimmedForEverAgain) {
  Start();
  used_ = 4000 * kMib;  // a bigger model, or a job of a million tokens
  for (int i = 0; i < 400; ++i) LookAfter(0.25, /*idle=*/i % 2 == 0);
  EXPECT_EQ(trims_, 0);
  EXPECT_LE(questions_, 100 / MemoryTrimmer::kAskSeconds);
  free_ = std::exchange(used_, 20 * kMib) - used_;
  LookAfter(MemoryTrimmer::kAskSeconds);
  EXPECT_EQ(free_, 0) << "in use before, and free now";
}

TEST_F(MemoryTrimmerTest, WhatCannotBeGivenBackIsTriedOnce) {
  Start();
  pinned_ = 60 * kMib;
  for (int i = 0; i < 100; ++i) LookAfter(1);
  EXPECT_EQ(trims_, 1);
  free_ = MemoryTrimmer::kSpareBytes;  // more has come: there is something to gain
  LookAfter(1);
  EXPECT_EQ(trims_, 2);
}

TEST_F(MemoryTrimmerTest, WhatIsGoneAlreadyIsNoReason) {
  Start();
  free_ = 500 * kMib;
  LookAfter(1);
  ASSERT_EQ(gone_, 500 * kMib);
  used_ += MemoryTrimmer::kSpareBytes - 1;
  for (int i = 0; i < 100; ++i) LookAfter(1);
  EXPECT_EQ(trims_, 1);
}

TEST_F(MemoryTrimmerTest, DoesNothingWhereMemoryIsNotKnown) {
  used_ = 0;
  LookAfter(1);
  EXPECT_EQ(trims_, 0);
}

// The allocator tells what lies free in the arenas of all threads, not of the first alone, and
// after a look it is given back.
TEST(MemoryTrimmerOfTheProcessTest, FindsWhatOtherThreadsHaveFreed) {
  if (!AllocatorIsOfGlibc()) GTEST_SKIP() << "a sanitizer's allocator keeps what is freed";
  MemoryTrimmer trimmer;
  const SteadyClock clock;
  trimmer.Look(clock.Now(), true);
  const int64_t before = ResidentBytes();
  // Each in an arena of its own; the last chunk stays in use, so that it keeps what lies below.
  constexpr int kThreads = 4;
  std::vector<std::unique_ptr<char[]>> last(kThreads);
  std::vector<std::thread> threads;
  for (std::unique_ptr<char[]>& kept : last) {
    threads.emplace_back([&kept] {
      std::vector<std::unique_ptr<char[]>> chunks;
      for (int i = 0; i < 4000; ++i) {
        chunks.push_back(std::make_unique<char[]>(4000));
      }
      kept = std::make_unique<char[]>(4000);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const int64_t grown = ResidentBytes();
  ASSERT_GT(grown, before + 40 * kMib);
  trimmer.Look(clock.Now() + FromSeconds(MemoryTrimmer::kPauseSeconds), true);
  EXPECT_LT(ResidentBytes(), before + 10 * kMib);
}

}  // namespace
}  // namespace longwave
