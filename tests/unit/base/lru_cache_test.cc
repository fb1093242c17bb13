#include "model/base/lru_cache.h"

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <vector>

#include "gtest/gtest.h"

namespace longwave {
namespace {

// Makes plans for lengths and tells which of them were destroyed, in order.
class FakePlans {
 public:
  struct Plan {
    int64_t length;
    FakePlans* owner;
    ~Plan() { owner->destroyed.push_back(length); }
  };
  std::unique_ptr<Plan> Make(int64_t length) {
    ++made;
    if (length < 0) throw std::runtime_error("no such plan");
    return std::unique_ptr<Plan>(new Plan{length, this});
  }
  int made = 0;
  std::vector<int64_t> destroyed;
};

using PlanCache = LruCache<int64_t, std::unique_ptr<FakePlans::Plan>>;

class LruCacheTest : public ::testing::Test {
 protected:
  int64_t Get(PlanCache& cache, int64_t length, int64_t cost = 1) {
    return cache.GetOrMake(length, cost, [&](int64_t key) { return plans_.Make(key); })->length;
  }
  FakePlans plans_;
};

TEST_F(LruCacheTest, AValueIsMadeOnce) {
  PlanCache cache(3);
  EXPECT_EQ(Get(cache, 8), 8);
  EXPECT_EQ(Get(cache, 8), 8);
  EXPECT_EQ(plans_.made, 1);
  EXPECT_EQ(cache.Find(16), nullptr);
}

TEST_F(LruCacheTest, TheLeastRecentlyUsedGoesFirst) {
  PlanCache cache(3);
  for (const int64_t length : {1, 2, 3}) Get(cache, length);
  Get(cache, 1);
  EXPECT_NE(cache.Find(3), nullptr);
  Get(cache, 4);
  Get(cache, 5);
  EXPECT_EQ(plans_.destroyed, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(cache.size(), 3);
}

TEST_F(LruCacheTest, CostsAreTheBound) {
  PlanCache cache(10);
  Get(cache, 1, 4);
  Get(cache, 2, 4);
  EXPECT_EQ(cache.cost(), 8);
  Get(cache, 3, 6);
  EXPECT_EQ(plans_.destroyed, (std::vector<int64_t>{1}));
  EXPECT_EQ(cache.cost(), 10);
}

TEST_F(LruCacheTest, AValueDearerThanTheCapacityStaysAlone) {
  PlanCache cache(10);
  Get(cache, 1, 4);
  EXPECT_EQ(Get(cache, 2, 50), 2);
  EXPECT_EQ(cache.size(), 1);
  EXPECT_EQ(cache.cost(), 50);
  Get(cache, 3, 1);
  EXPECT_EQ(plans_.destroyed, (std::vector<int64_t>{1, 2}));
}

TEST_F(LruCacheTest, AnotherValueOfOneKeyTakesItsPlace) {
  PlanCache cache(10);
  Get(cache, 1, 4);
  cache.Insert(1, plans_.Make(7), 5);
  EXPECT_EQ((*cache.Find(1))->length, 7);
  EXPECT_EQ(cache.cost(), 5);
  EXPECT_EQ(cache.size(), 1);
}

TEST_F(LruCacheTest, AMakerThatThrowsLeavesAllAsItWas) {
  PlanCache cache(2);
  Get(cache, 1);
  Get(cache, 2);
  EXPECT_THROW(Get(cache, -1), std::runtime_error);
  EXPECT_EQ(cache.size(), 2);
  EXPECT_TRUE(plans_.destroyed.empty());
}

TEST_F(LruCacheTest, ClearDestroysAll) {
  PlanCache cache(5);
  Get(cache, 1);
  Get(cache, 2);
  cache.Clear();
  EXPECT_EQ(plans_.destroyed.size(), 2u);
  EXPECT_EQ(cache.size(), 0);
  EXPECT_EQ(cache.cost(), 0);
}

}  // namespace
}  // namespace longwave
