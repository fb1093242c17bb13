#include "client/request_builder.h"

#include <gtest/gtest.h>

#include <vector>

namespace longwave::client {
namespace {

TEST(PackIdsTest, UsesTheFewestBytesThatHoldTheLargestId) {
  const std::vector<uint32_t> low = {0, 65, 255};
  const std::vector<uint32_t> middle = {256, 65535};
  const std::vector<uint32_t> high = {65536};
  EXPECT_EQ(PackIds({low}).width, v1::ID_WIDTH_U8);
  EXPECT_EQ(PackIds({low}).bytes, std::string("\0A\xFF", 3));
  EXPECT_EQ(PackIds({low, middle}).width, v1::ID_WIDTH_U16);
  EXPECT_EQ(PackIds({low, middle}).bytes, std::string("\0\0A\0\xFF\0\0\x01\xFF\xFF", 10));
  EXPECT_EQ(PackIds({high}).width, v1::ID_WIDTH_U32);
  EXPECT_EQ(PackIds({high}).bytes, std::string("\0\0\x01\0", 4));
  EXPECT_TRUE(PackIds({}).bytes.empty());
}

TEST(MakeRequestTest, CarriesEveryOption) {
  EncodeOptions options;
  options.model = "m";
  options.model_version = "2";
  options.request_id = "r";
  options.pooling = v1::POOLING_LAST;
  options.layers = {0, -1};
  options.dtype = v1::DATA_TYPE_FP16;
  options.normalize = false;
  options.truncate_dim = 64;
  options.allow_undeclared_dim = true;
  options.truncation = v1::TRUNCATION_SIDE_START;
  options.max_tokens = 512;
  options.priority = v1::PRIORITY_BATCH;
  options.tenant = "t";
  options.deterministic = true;
  options.route = v1::ROUTE_FFT;
  options.tokenizer_fingerprint = "f";
  const v1::EncodeRequest request = MakeRequest(options, {3, 5}, 0);
  EXPECT_EQ(request.model(), "m");
  EXPECT_EQ(request.model_version(), "2");
  EXPECT_EQ(request.request_id(), "r");
  EXPECT_EQ(request.tokens().lengths_size(), 2);
  EXPECT_EQ(request.tokens().lengths(1), 5);
  EXPECT_EQ(request.output().pooling(), v1::POOLING_LAST);
  EXPECT_EQ(request.output().layers(1), -1);
  EXPECT_EQ(request.output().dtype(), v1::DATA_TYPE_FP16);
  EXPECT_TRUE(request.output().has_normalize());
  EXPECT_FALSE(request.output().normalize());
  EXPECT_EQ(request.output().truncate_dim(), 64);
  EXPECT_TRUE(request.output().allow_undeclared_dim());
  EXPECT_FALSE(request.output().has_rows());
  EXPECT_EQ(request.truncation().side(), v1::TRUNCATION_SIDE_START);
  EXPECT_EQ(request.truncation().max_tokens(), 512);
  EXPECT_EQ(request.priority(), v1::PRIORITY_BATCH);
  EXPECT_EQ(request.tenant(), "t");
  EXPECT_TRUE(request.deterministic());
  EXPECT_EQ(request.route_override(), v1::ROUTE_FFT);
  EXPECT_EQ(request.tokenizer_fingerprint(), "f");
}

TEST(MakeRequestTest, LeavesUnsetWhatWasNotAskedFor) {
  const v1::EncodeRequest request = MakeRequest({}, {3}, 0);
  EXPECT_FALSE(request.output().has_normalize());
  EXPECT_FALSE(request.has_truncation());
  EXPECT_FALSE(request.output().has_rows());
}

TEST(MakeRequestTest, RenumbersTheSpansOfAPart) {
  EncodeOptions options;
  options.spans = {{0, 1, 2}, {2, 3, 4}, {3, 5, 6}, {2, 7, 8}};
  options.row_ranges = {{1, 0, 9}, {3, 1, 2}};
  const v1::EncodeRequest request = MakeRequest(options, {10, 10}, 2);  // sequences 2 and 3
  ASSERT_EQ(request.output().spans_size(), 3);
  EXPECT_EQ(request.output().spans(0).sequence(), 0);
  EXPECT_EQ(request.output().spans(0).begin(), 3);
  EXPECT_EQ(request.output().spans(1).sequence(), 1);
  EXPECT_EQ(request.output().spans(2).end(), 8);
  ASSERT_EQ(request.output().rows().ranges_size(), 1);
  EXPECT_EQ(request.output().rows().ranges(0).sequence(), 1);
}

}  // namespace
}  // namespace longwave::client
