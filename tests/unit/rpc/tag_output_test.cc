#include "server/rpc/tag_output.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "server/rpc/crc32c.h"

namespace longwave {
namespace {

constexpr int64_t kDim = 4;
constexpr int64_t kRowBytes = kDim * 4;

// Rows whose values are their own numbers, so that order shows.
class Rows {
 public:
  Rows(int64_t first, int64_t count) : count_(count), values_(count * kDim) {
    std::iota(values_.begin(), values_.end(), static_cast<float>(first * kDim));
  }
  RowBlock block() const { return {.values = values_, .rows = count_, .dim = kDim}; }

 private:
  int64_t count_;
  std::vector<float> values_;
};

TagOutput MakeOutput(int64_t chunk_rows, int64_t budget_rows,
                     OutputType dtype = OutputType::kFp32) {
  return TagOutput({.dtype = dtype,
                    .dim = kDim,
                    .max_chunk_bytes = chunk_rows * kRowBytes,
                    .budget_bytes = budget_rows * kRowBytes});
}

RowSink::Answer Offer(TagOutput& output, int64_t first, int64_t count) {
  return output.Offer(0, first, Rows(first, count).block());
}

// Pops everything and returns the rows seen, checking that each is in its place.
int64_t PopAll(TagOutput& output, int64_t first_row) {
  int64_t next = first_row;
  while (output.HasChunk()) {
    const v1::StreamChunk chunk = output.PopChunk();
    EXPECT_EQ(static_cast<int64_t>(chunk.first_row()), next);
    EXPECT_EQ(chunk.crc32c(), Crc32c(chunk.embeddings().data()));
    const Rows expected(next, chunk.embeddings().rows());
    EXPECT_EQ(chunk.embeddings().data().size(), chunk.embeddings().rows() * kRowBytes);
    EXPECT_EQ(std::memcmp(chunk.embeddings().data().data(), expected.block().values.data(),
                          chunk.embeddings().data().size()),
              0);
    next += chunk.embeddings().rows();
    output.ChunkWritten();
  }
  return next - first_row;
}

TEST(TagOutputTest, CutsLargeBlocksAndJoinsSmallOnes) {
  TagOutput output = MakeOutput(/*chunk_rows=*/4, /*budget_rows=*/100);
  EXPECT_EQ(Offer(output, 0, 1), RowSink::Answer::kTaken);
  EXPECT_EQ(Offer(output, 1, 1), RowSink::Answer::kTaken);
  EXPECT_EQ(Offer(output, 2, 9), RowSink::Answer::kTaken);
  std::vector<uint32_t> sizes;
  int64_t next = 0;
  while (output.HasChunk()) {
    const v1::StreamChunk chunk = output.PopChunk();
    EXPECT_EQ(static_cast<int64_t>(chunk.first_row()), next);
    next += chunk.embeddings().rows();
    sizes.push_back(chunk.embeddings().rows());
  }
  EXPECT_EQ(sizes, (std::vector<uint32_t>{4, 4, 3}));
  EXPECT_EQ(output.next_row(), 11);
}

TEST(TagOutputTest, RefusesAboveTheBudgetAndIsReadyOnceBelowHalf) {
  TagOutput output = MakeOutput(/*chunk_rows=*/2, /*budget_rows=*/8);
  EXPECT_EQ(Offer(output, 0, 8), RowSink::Answer::kTaken);
  EXPECT_FALSE(output.TakeReady()) << "nothing was refused";
  EXPECT_EQ(Offer(output, 8, 2), RowSink::Answer::kRefused);
  output.PopChunk();
  EXPECT_EQ(Offer(output, 8, 2), RowSink::Answer::kRefused) << "the wire's chunk still counts";
  output.ChunkWritten();
  EXPECT_FALSE(output.TakeReady()) << "six of eight rows wait";
  output.PopChunk();
  output.ChunkWritten();
  EXPECT_TRUE(output.TakeReady());
  EXPECT_FALSE(output.TakeReady()) << "once";
  EXPECT_EQ(Offer(output, 8, 2), RowSink::Answer::kTaken);
  EXPECT_EQ(PopAll(output, 4), 6);
}

TEST(TagOutputTest, ABlockAboveHalfTheBudgetWaitsUntilItFits) {
  TagOutput output = MakeOutput(/*chunk_rows=*/2, /*budget_rows=*/8);
  EXPECT_EQ(Offer(output, 0, 4), RowSink::Answer::kTaken);
  EXPECT_EQ(Offer(output, 4, 6), RowSink::Answer::kRefused);
  EXPECT_FALSE(output.TakeReady()) << "half is free, but the block would be refused again";
  output.PopChunk();
  output.ChunkWritten();
  EXPECT_TRUE(output.TakeReady());
  EXPECT_EQ(Offer(output, 4, 6), RowSink::Answer::kTaken);
}

TEST(TagOutputTest, ABlockAboveTheBudgetIsTakenWhenNothingWaits) {
  TagOutput output = MakeOutput(/*chunk_rows=*/2, /*budget_rows=*/4);
  EXPECT_EQ(Offer(output, 0, 2), RowSink::Answer::kTaken);
  EXPECT_EQ(Offer(output, 2, 20), RowSink::Answer::kRefused);
  EXPECT_EQ(PopAll(output, 0), 2);
  EXPECT_TRUE(output.TakeReady());
  EXPECT_EQ(Offer(output, 2, 20), RowSink::Answer::kTaken);
  EXPECT_EQ(PopAll(output, 2), 20);
}

TEST(TagOutputTest, ClearDropsWhatWaitsAndKeepsCount) {
  TagOutput output = MakeOutput(/*chunk_rows=*/1, /*budget_rows=*/4);
  EXPECT_EQ(Offer(output, 0, 4), RowSink::Answer::kTaken);
  output.PopChunk();
  output.Clear();
  EXPECT_FALSE(output.HasChunk());
  EXPECT_EQ(output.next_row(), 1);
  output.ChunkWritten();
  EXPECT_EQ(Offer(output, 1, 4), RowSink::Answer::kTaken);
}

TEST(TagOutputTest, Int8ChunksCarryOneScaleARow) {
  TagOutput output = MakeOutput(/*chunk_rows=*/1, /*budget_rows=*/100, OutputType::kInt8);
  EXPECT_EQ(Offer(output, 1, 6), RowSink::Answer::kTaken);
  // Four bytes a row and four of its scale: two rows fit where one of fp32 does.
  const v1::StreamChunk first = output.PopChunk();
  EXPECT_EQ(first.embeddings().rows(), 2u);
  EXPECT_EQ(first.embeddings().scales_size(), 2);
  EXPECT_FLOAT_EQ(first.embeddings().scales(0), 7.0f / 127);
  output.PopChunk();
  EXPECT_EQ(output.PopChunk().embeddings().scales_size(), 2);
  EXPECT_FALSE(output.HasChunk());
}

TEST(TagOutputTest, ChunksOfTheNarrowestRowsFitIntoAMessage) {
  TagOutput output(
      {.dtype = OutputType::kInt8, .dim = 1, .max_chunk_bytes = 1 << 20, .budget_bytes = 4 << 20});
  const std::vector<float> values(1 << 20, 1.0f);
  output.Take(0, 0, {.values = values, .rows = 1 << 20, .dim = 1});
  EXPECT_LT(output.PopChunk().ByteSizeLong(), (1u << 20) + 1024);
}

TEST(TagOutputTest, SequencesDoNotShareChunks) {
  TagOutput output = MakeOutput(/*chunk_rows=*/10, /*budget_rows=*/100);
  output.Take(0, 0, Rows(0, 1).block());
  output.Take(1, 1, Rows(1, 1).block());
  EXPECT_EQ(output.PopChunk().sequence(), 0u);
  EXPECT_EQ(output.PopChunk().sequence(), 1u);
}

}  // namespace
}  // namespace longwave
