#include "model/base/task_thread.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <thread>
#include <vector>

namespace longwave {
namespace {

using ::testing::ElementsAre;

TEST(TaskThreadTest, RunsWhatIsPostedInOrderOnOneThreadOfItsOwn) {
  std::vector<int> order;
  std::vector<std::thread::id> threads;
  {
    TaskThread tasks("tasks");
    for (int i = 0; i < 3; ++i) {
      tasks.Post([&, i] {
        order.push_back(i);
        threads.push_back(std::this_thread::get_id());
      });
    }
  }
  EXPECT_THAT(order, ElementsAre(0, 1, 2));
  EXPECT_EQ(threads[0], threads[2]);
  EXPECT_NE(threads[0], std::this_thread::get_id());
}

TEST(TaskThreadTest, ItsEndCarriesOutWhatWasPosted) {
  std::promise<void> go;
  std::future<void> gone = go.get_future();
  bool done = false;
  auto tasks = std::make_unique<TaskThread>("tasks");
  tasks->Post([&] { gone.wait(); });
  tasks->Post([&] { done = true; });
  std::thread end([&] { tasks.reset(); });
  go.set_value();
  end.join();
  EXPECT_TRUE(done);
}

TEST(TaskThreadTest, LetsGoOfATaskBeforeTheNext) {
  auto thing = std::make_shared<int>(1);
  const std::weak_ptr<int> watched = thing;
  bool gone = false;
  {
    TaskThread tasks("tasks");
    tasks.Post([held = std::move(thing)] {});
    tasks.Post([&] { gone = watched.expired(); });
  }
  EXPECT_TRUE(gone);
}

}  // namespace
}  // namespace longwave
