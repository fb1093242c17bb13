#include "server/scheduling/virtual_clock.h"

#include <algorithm>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace longwave {
namespace {

TEST(VirtualClockTest, RunsAtTheRateOfOneShare) {
  VirtualClock clock;
  EXPECT_EQ(clock.Arrive(4), 4);
  clock.Serve(1);
  EXPECT_EQ(clock.now(), 1);
  EXPECT_EQ(clock.Arrive(8), 9);
  clock.Serve(2);  // one for each of the two
  EXPECT_EQ(clock.now(), 2);
  clock.Serve(6);  // the first ends at 4 after 4 of them; the other has the rest for itself
  EXPECT_EQ(clock.now(), 6);
}

TEST(VirtualClockTest, AnEmptyClockStands) {
  VirtualClock clock;
  clock.Serve(5);
  EXPECT_EQ(clock.now(), 0);
  clock.Arrive(1);
  clock.Serve(5);
  EXPECT_EQ(clock.now(), 1);
}

TEST(VirtualClockTest, AWithdrawnRequestGivesItsShareBack) {
  VirtualClock clock;
  clock.Arrive(10);
  const double tag = clock.Arrive(10);
  clock.Serve(2);
  EXPECT_EQ(clock.now(), 1);
  clock.Withdraw(tag);
  clock.Serve(2);
  EXPECT_EQ(clock.now(), 3);
  clock.Withdraw(12345);  // unknown or over: ignored
  clock.Serve(2);
  EXPECT_EQ(clock.now(), 5);
}

TEST(VirtualClockTest, OfTwoEqualTagsOneIsWithdrawn) {
  VirtualClock clock;
  clock.Arrive(6);
  clock.Withdraw(clock.Arrive(6));
  clock.Serve(3);
  EXPECT_EQ(clock.now(), 3);
}

// Serving the least tag first ends no request later than equal sharing would.
TEST(VirtualClockTest, LeastTagFirstNeverLosesToSharing) {
  struct Request {
    double tag;
    double left;
    double shared_left;
    double ended = -1;
    double shared_end = -1;
  };
  for (uint32_t seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    constexpr double kTick = 1.0 / 64;
    VirtualClock clock;
    std::vector<Request> requests;
    for (int tick = 0; tick < 4000; ++tick) {
      if (tick < 1000 && random() % 50 == 0) {
        const double size = kTick * (1 + random() % (random() % 4 == 0 ? 400 : 20));
        requests.push_back({clock.Arrive(size), size, size});
      }
      const auto next = std::min_element(
          requests.begin(), requests.end(), [](const Request& a, const Request& b) {
            return std::make_pair(a.left <= 0, a.tag) < std::make_pair(b.left <= 0, b.tag);
          });
      const double time = (tick + 1) * kTick;
      if (next != requests.end() && next->left > 0) {
        next->left -= kTick;
        if (next->left <= 0) next->ended = time;
        clock.Serve(kTick);
      }
      // Equal sharing of the same tick.
      double work = kTick;
      while (work > 1e-12) {
        std::vector<Request*> present;
        for (Request& request : requests) {
          if (request.shared_left > 1e-12) present.push_back(&request);
        }
        if (present.empty()) break;
        double share = work / static_cast<double>(present.size());
        for (const Request* request : present) share = std::min(share, request->shared_left);
        for (Request* request : present) {
          request->shared_left -= share;
          if (request->shared_left <= 1e-12) request->shared_end = time;
        }
        work -= share * static_cast<double>(present.size());
      }
    }
    for (const Request& request : requests) {
      ASSERT_GE(request.ended, 0) << "seed " << seed;
      // Work is in whole ticks, so an end may be one tick off.
      EXPECT_LE(request.ended, request.shared_end + kTick) << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace longwave
