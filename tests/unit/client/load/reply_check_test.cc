#include "client/load/reply_check.h"

#include <gtest/gtest.h>

namespace longwave::load {
namespace {

TEST(ReplyCheckTest, LearnsFromTheFirstReplyToEachDocument) {
  ReplyCheck check;
  EXPECT_TRUE(check.Take("m", 10, 0, 111));
  EXPECT_TRUE(check.Take("m", 10, 1, 222));
  EXPECT_TRUE(check.Take("m", 11, 0, 333));
  EXPECT_TRUE(check.Take("m", 10, 0, 111));
  EXPECT_FALSE(check.Take("m", 10, 0, 222)) << "the reply of another call";
  EXPECT_FALSE(check.Take("m", 11, 0, 111));
  EXPECT_TRUE(check.Take("m", 10, 1, 222)) << "what is right does not change";
}

TEST(ReplyCheckTest, EveryModelHasItsOwnReplies) {
  ReplyCheck check;
  EXPECT_TRUE(check.Take("old", 10, 0, 111));
  EXPECT_TRUE(check.Take("new", 10, 0, 999));
  EXPECT_FALSE(check.Take("old", 10, 0, 999)) << "the new model's rows under the old name";
  EXPECT_EQ(check.models(), (std::vector<std::string>{"old", "new"}));
}

}  // namespace
}  // namespace longwave::load
