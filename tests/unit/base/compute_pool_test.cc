#include "model/base/compute_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace longwave {
namespace {

class ComputePoolTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Threads, ComputePoolTest, testing::Values(1, 2, 3, 8));

TEST_P(ComputePoolTest, RunsEveryPieceOnce) {
  ComputePool pool(GetParam(), nullptr);
  EXPECT_EQ(pool.threads(), GetParam());
  for (const int64_t pieces : {0, 1, 2, 7, 1000}) {
    std::vector<std::atomic<int>> runs(pieces);
    pool.ParallelFor(pieces, [&](int64_t piece, int) { ++runs[piece]; });
    for (int64_t piece = 0; piece < pieces; ++piece) EXPECT_EQ(runs[piece], 1) << piece;
  }
}

TEST_P(ComputePoolTest, WorkersHaveDifferentNumbersInRange) {
  ComputePool pool(GetParam(), nullptr);
  // One flag for each worker: two threads with one number would find it taken.
  std::vector<std::atomic<int>> busy(GetParam());
  std::atomic<int> clashes = 0;
  pool.ParallelFor(500, [&](int64_t, int worker) {
    ASSERT_GE(worker, 0);
    ASSERT_LT(worker, GetParam());
    if (busy[worker].exchange(1) != 0) ++clashes;
    std::this_thread::yield();
    busy[worker] = 0;
  });
  EXPECT_EQ(clashes, 0);
}

TEST_P(ComputePoolTest, WritesOfPiecesAreSeenByTheCaller) {
  ComputePool pool(GetParam(), nullptr);
  std::vector<int> values(1000, 0);  // not atomic: ThreadSanitizer judges the hand-over
  for (int round = 0; round < 20; ++round) {
    pool.ParallelFor(1000, [&](int64_t piece, int) { values[piece] += 1; });
  }
  EXPECT_EQ(values, std::vector<int>(1000, 20));
}

TEST(ComputePool, StartsEveryWorkerBeforeItsFirstPiece) {
  static thread_local bool started = false;
  std::atomic<int> starts = 0;
  std::atomic<int> not_started = 0;
  {
    ComputePool pool(3, [&] {
      started = true;
      ++starts;
    });
    pool.ParallelFor(300, [&](int64_t, int) {
      if (!started) ++not_started;
    });
  }
  EXPECT_EQ(not_started, 0);
  EXPECT_EQ(starts, 3);
}

TEST(ComputePool, RethrowsTheFirstExceptionAfterTheOtherPiecesHaveEnded) {
  ComputePool pool(2, nullptr);
  std::atomic<int> runs = 0;
  const auto body = [&](int64_t piece, int) {
    ++runs;
    if (piece == 3) throw std::runtime_error("piece 3");
  };
  EXPECT_THROW(pool.ParallelFor(10, body), std::runtime_error);
  EXPECT_EQ(runs, 10);
  // The pool is as good as before.
  runs = 0;
  pool.ParallelFor(10, [&](int64_t, int) { ++runs; });
  EXPECT_EQ(runs, 10);
}

TEST(ComputePool, ServesConcurrentCallersOneAfterAnother) {
  ComputePool pool(2, nullptr);
  constexpr int kCallers = 4;
  constexpr int kRounds = 50;
  std::vector<int64_t> sums(kCallers, 0);
  std::vector<std::thread> callers;
  for (int c = 0; c < kCallers; ++c) {
    callers.emplace_back([&, c] {
      for (int round = 0; round < kRounds; ++round) {
        std::atomic<int64_t> sum = 0;
        pool.ParallelFor(100, [&](int64_t piece, int) { sum += piece; });
        sums[c] += sum;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sums, std::vector<int64_t>(kCallers, kRounds * 4950));
}

}  // namespace
}  // namespace longwave
