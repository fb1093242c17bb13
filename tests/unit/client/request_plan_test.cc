#include "client/request_plan.h"

#include <gtest/gtest.h>

#include <vector>

#include "client/error_info.h"

namespace longwave::client {
namespace {

v1::Model MakeModel() {
  v1::Model model;
  model.set_dim(256);
  model.set_vocab_size(259);
  model.set_default_pooling(v1::POOLING_MEAN);
  model.mutable_limits()->set_max_sequences_per_request(4);
  model.mutable_limits()->set_max_tokens_per_request(1000);
  model.mutable_limits()->set_max_unary_reply_bytes(1 << 20);
  model.mutable_limits()->set_max_receive_message_bytes(1 << 20);
  return model;
}

std::vector<std::pair<uint32_t, uint32_t>> Parts(const RequestPlan& plan) {
  std::vector<std::pair<uint32_t, uint32_t>> parts;
  for (const RequestPart part : plan.parts) parts.emplace_back(part.first, part.count);
  return parts;
}

using PartList = std::vector<std::pair<uint32_t, uint32_t>>;

TEST(PlanRequestsTest, SendsAShortListAsOneRequest) {
  const auto plan = PlanRequests({10, 20, 30}, {}, MakeModel());
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(Parts(*plan), (PartList{{0, 3}}));
}

TEST(PlanRequestsTest, CutsByTokens) {
  EncodeOptions options;
  options.tokens_per_request = 50;
  const auto plan = PlanRequests({20, 30, 1, 200, 50}, options, MakeModel());
  ASSERT_TRUE(plan.ok());
  // 20 + 30 fill a request to the token; 200 alone is above the wish but within the limit.
  EXPECT_EQ(Parts(*plan), (PartList{{0, 2}, {2, 1}, {3, 1}, {4, 1}}));
}

TEST(PlanRequestsTest, KeepsTheServersLimits) {
  const auto by_count = PlanRequests({1, 1, 1, 1, 1}, {}, MakeModel());
  ASSERT_TRUE(by_count.ok());
  EXPECT_EQ(Parts(*by_count), (PartList{{0, 4}, {4, 1}}));
  const auto by_tokens = PlanRequests({999, 1, 1}, {}, MakeModel());
  ASSERT_TRUE(by_tokens.ok());
  EXPECT_EQ(Parts(*by_tokens), (PartList{{0, 2}, {2, 1}}));
}

TEST(PlanRequestsTest, KeepsRepliesBelowTheLimit) {
  EncodeOptions options;
  options.pooling = v1::POOLING_NONE;  // 1 KiB a token
  const auto plan = PlanRequests({500, 300, 300, 100}, options, MakeModel());
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(Parts(*plan), (PartList{{0, 2}, {2, 2}}));
  options.dtype = v1::DATA_TYPE_INT8;  // a fourth of it
  const auto narrow = PlanRequests({500, 300, 300, 100}, options, MakeModel());
  ASSERT_TRUE(narrow.ok());
  EXPECT_EQ(Parts(*narrow), (PartList{{0, 2}, {2, 2}}));  // the tokens bind now
}

TEST(PlanRequestsTest, RefusesWhatOnlyAStreamTakesAndNamesTheLimit) {
  EncodeOptions options;
  const auto plan = PlanRequests({10, 1001, 10}, options, MakeModel());
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(Parts(*plan), (PartList{{0, 1}, {2, 1}}));
  ASSERT_EQ(plan->refused.size(), 1);
  EXPECT_EQ(plan->refused[0].sequence, 1);
  const ErrorInfo info = GetErrorInfo(plan->refused[0].reason);
  EXPECT_EQ(info.reason, "REQUEST_TOO_LARGE");
  EXPECT_EQ(info.value, "1001");
  EXPECT_EQ(info.limit, "1000");
}

TEST(PlanRequestsTest, AnUnpublishedLimitDoesNotBind) {
  const auto plan = PlanRequests({1 << 14, 1 << 14}, {}, v1::Model());
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(Parts(*plan), (PartList{{0, 2}}));
}

TEST(PlanRequestsTest, RefusesAnEmptyListAndRangesThatMissASequence) {
  EXPECT_EQ(GetErrorInfo(PlanRequests({}, {}, MakeModel()).status()).reason, "EMPTY_REQUEST");
  EncodeOptions options;
  options.pooling = v1::POOLING_SPANS;
  options.spans = {{0, 0, 5}};
  // Were the list cut between the two, the second part would ask for something else.
  EXPECT_EQ(GetErrorInfo(PlanRequests({9, 9}, options, MakeModel()).status()).reason,
            "MISSING_FIELD");
  options.spans = {{0, 0, 5}, {1, 0, 5}, {2, 0, 5}};
  EXPECT_EQ(GetErrorInfo(PlanRequests({9, 9}, options, MakeModel()).status()).value, "2");
}

TEST(CountRowsTest, FollowsPoolingSpansAndSelection) {
  const v1::Model model = MakeModel();
  EncodeOptions options;
  EXPECT_EQ(CountRows({5, 7}, options, model), (std::vector<int64_t>{1, 1}));
  options.pooling = v1::POOLING_NONE;
  EXPECT_EQ(CountRows({5, 7}, options, model), (std::vector<int64_t>{5, 7}));
  options.row_stride = 3;
  EXPECT_EQ(CountRows({5, 7}, options, model), (std::vector<int64_t>{2, 3}));
  options.row_ranges = {{0, 0, 3}, {0, 4, 5}, {1, 0, 7}};
  EXPECT_EQ(CountRows({5, 7}, options, model), (std::vector<int64_t>{2, 3}));
  options.pooling = v1::POOLING_SPANS;
  options.spans = {{1, 0, 3}, {1, 4, 5}, {0, 0, 5}};
  EXPECT_EQ(CountRows({5, 7}, options, model), (std::vector<int64_t>{1, 2}));
}

}  // namespace
}  // namespace longwave::client
