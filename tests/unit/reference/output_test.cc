#include "model/reference/output.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longwave {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

// Two layers' states above the embeddings, four tokens, two channels.
class ReferenceOutputTest : public testing::Test {
 protected:
  ReferenceOutputTest() {
    config_.hidden_size = 2;
    config_.num_layers = 1;
    states_ = {{1, 2, 3, 4, 5, 6, 7, 8}, {3, -4, 0, 0, 30, 40, -1, 1}};
  }
  std::vector<double> Rows(const OutputSpec& output) {
    return ReferenceOutput(config_, output, states_);
  }

  ModelConfig config_;
  std::vector<HiddenStates> states_;
};

TEST_F(ReferenceOutputTest, PoolingsOfTheLastLayer) {
  EXPECT_THAT(Rows({.pooling = Pooling::kMean}), ElementsAre(8, 9.25));
  EXPECT_THAT(Rows({.pooling = Pooling::kFirst}), ElementsAre(3, -4));
  EXPECT_THAT(Rows({.pooling = Pooling::kLast}), ElementsAre(-1, 1));
  EXPECT_THAT(Rows({.pooling = Pooling::kMax}), ElementsAre(30, 40));
  EXPECT_THAT(Rows({.pooling = Pooling::kSpans, .spans = {{2, 4}, {0, 2}}}),
              ElementsAre(14.5, 20.5, 1.5, -2));
}

TEST_F(ReferenceOutputTest, RowsByRangesAndStride) {
  EXPECT_THAT(Rows({.pooling = Pooling::kRows}), testing::ElementsAreArray(states_[1]));
  EXPECT_THAT(Rows({.pooling = Pooling::kRows, .row_stride = 3}), ElementsAre(3, -4, -1, 1));
  EXPECT_THAT(Rows({.pooling = Pooling::kRows, .row_ranges = {{1, 4}, {0, 1}}, .row_stride = 2}),
              ElementsAre(0, 0, -1, 1, 3, -4));
}

TEST_F(ReferenceOutputTest, LayersAreTruncatedAndNormalisedEachByItself) {
  EXPECT_THAT(
      Rows({.pooling = Pooling::kFirst, .layers = {1, 0}, .normalize = true}),
      ElementsAre(DoubleNear(0.6, 1e-15), DoubleNear(-0.8, 1e-15),
                  DoubleNear(1 / std::sqrt(5), 1e-15), DoubleNear(2 / std::sqrt(5), 1e-15)));
  EXPECT_THAT(Rows({.pooling = Pooling::kLast, .layers = {0, 1}, .truncate_dim = 1}),
              ElementsAre(7, -1));
  EXPECT_THAT(
      Rows({.pooling = Pooling::kLast, .layers = {1}, .truncate_dim = 1, .normalize = true}),
      ElementsAre(-1));
}

TEST_F(ReferenceOutputTest, TheZeroVectorStaysZero) {
  EXPECT_THAT(Rows({.pooling = Pooling::kRows, .row_ranges = {{1, 2}}, .normalize = true}),
              ElementsAre(0, 0));
}

}  // namespace
}  // namespace longwave
