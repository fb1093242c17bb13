#include "model/encoder/row_emitter.h"

#include <gtest/gtest.h>

#include <vector>

#include "model/base/error.h"
#include "tests/unit/api/collecting_sink.h"

namespace longwave {
namespace {

// Every value of a token's row is the token's number.
class NumberedRows {
 public:
  NumberedRows(int64_t tokens, int64_t hidden) : hidden_(hidden), values_(tokens * hidden) {
    for (size_t i = 0; i < values_.size(); ++i) values_[i] = static_cast<float>(i / hidden);
  }
  std::vector<const float*> operator()(absl::Span<const int64_t> tokens) const {
    std::vector<const float*> rows;
    for (const int64_t token : tokens) rows.push_back(&values_[token * hidden_]);
    return rows;
  }
  std::vector<float>& values() { return values_; }

 private:
  int64_t hidden_;
  std::vector<float> values_;
};

OutputSpec AllRows() { return {.pooling = Pooling::kRows}; }

TEST(RowEmitter, SendsBlocksOfAtMostOneMebibyte) {
  constexpr int64_t kTokens = 5000;
  constexpr int64_t kHidden = 100;  // 2621 rows a block
  const NumberedRows rows(kTokens, kHidden);
  const SequenceOutput output(AllRows(), kTokens, kHidden, 1);
  CollectingSink sink;
  RowEmitter emitter(&sink);
  EXPECT_EQ(*emitter.Next(0, output, rows), RowEmitter::Result::kMore);
  EXPECT_EQ(sink.result(0).rows, (1 << 20) / 400);
  EXPECT_LE(emitter.block_bytes(), 1 << 20);
  EXPECT_EQ(*emitter.Next(0, output, rows), RowEmitter::Result::kAll);
  ASSERT_EQ(sink.result(0).rows, kTokens);
  for (int64_t row = 0; row < kTokens; ++row) {
    ASSERT_EQ(sink.result(0).values[row * kHidden], static_cast<float>(row));
    ASSERT_EQ(sink.result(0).values[row * kHidden + kHidden - 1], static_cast<float>(row));
  }
}

TEST(RowEmitter, ARowLongerThanABlockGoesAlone) {
  constexpr int64_t kHidden = 300'000;
  const NumberedRows rows(2, kHidden);
  const SequenceOutput output(AllRows(), 2, kHidden, 1);
  CollectingSink sink;
  RowEmitter emitter(&sink);
  EXPECT_EQ(*emitter.Next(0, output, rows), RowEmitter::Result::kMore);
  EXPECT_EQ(sink.result(0).rows, 1);
  EXPECT_EQ(*emitter.Next(0, output, rows), RowEmitter::Result::kAll);
}

TEST(RowEmitter, ARefusedBlockIsOfferedAgain) {
  const NumberedRows rows(10, 4);
  const SequenceOutput output(AllRows(), 10, 4, 1);
  CollectingSink sink;
  sink.Refuse(2);
  RowEmitter emitter(&sink);
  EXPECT_EQ(*emitter.Next(0, output, rows), RowEmitter::Result::kRefused);
  EXPECT_EQ(*emitter.Next(0, output, rows), RowEmitter::Result::kRefused);
  EXPECT_EQ(*emitter.Next(0, output, rows), RowEmitter::Result::kAll);
  EXPECT_EQ(sink.result(0).rows, 10);
}

TEST(RowEmitter, ANewSequenceStartsAtItsFirstRow) {
  const NumberedRows rows(10, 4);
  const SequenceOutput output(AllRows(), 10, 4, 1);
  CollectingSink sink;
  RowEmitter emitter(&sink);
  EXPECT_EQ(*emitter.Next(0, output, rows), RowEmitter::Result::kAll);
  EXPECT_EQ(*emitter.Next(2, output, rows), RowEmitter::Result::kAll);
  EXPECT_EQ(sink.result(2).values, sink.result(0).values);
}

TEST(RowEmitter, ABlockWithANonFiniteValueIsNotSent) {
  NumberedRows rows(10, 4);
  rows.values()[21] = 1.0f / 0.0f;
  const SequenceOutput output(AllRows(), 10, 4, 1);
  CollectingSink sink;
  RowEmitter emitter(&sink);
  const auto result = emitter.Next(0, output, rows);
  EXPECT_EQ(GetErrorDetails(result.status()).reason, ErrorReason::kNonFinite);
  EXPECT_EQ(sink.result(0).rows, 0);
}

}  // namespace
}  // namespace longwave
