#include "server/rpc/reply_thread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <thread>
#include <vector>

namespace longwave {
namespace {

using ::testing::ElementsAre;

TEST(ReplyThreadTest, RunsWhatIsPostedInOrderOnOneThreadOfItsOwn) {
  std::vector<int> order;
  std::vector<std::thread::id> threads;
  {
    ReplyThread replies;
    for (int i = 0; i < 3; ++i) {
      replies.Post([&, i] {
        order.push_back(i);
        threads.push_back(std::this_thread::get_id());
      });
    }
  }
  EXPECT_THAT(order, ElementsAre(0, 1, 2));
  EXPECT_EQ(threads[0], threads[2]);
  EXPECT_NE(threads[0], std::this_thread::get_id());
}

TEST(ReplyThreadTest, ItsEndCarriesOutWhatWasPosted) {
  std::promise<void> go;
  bool written = false;
  auto replies = std::make_unique<ReplyThread>();
  replies->Post([&] { go.get_future().wait(); });
  replies->Post([&] { written = true; });
  std::thread end([&] { replies.reset(); });
  go.set_value();
  end.join();
  EXPECT_TRUE(written);
}

TEST(ReplyThreadTest, LetsGoOfACallBeforeTheNext) {
  auto call = std::make_shared<int>(1);
  const std::weak_ptr<int> watched = call;
  bool gone = false;
  {
    ReplyThread replies;
    replies.Post([held = std::move(call)] {});
    replies.Post([&] { gone = watched.expired(); });
  }
  EXPECT_TRUE(gone);
}

}  // namespace
}  // namespace longwave
