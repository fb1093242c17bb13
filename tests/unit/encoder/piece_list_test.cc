#include "model/encoder/piece_list.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace longwave {
namespace {

// Takes everything and returns the lengths of the ranges.
std::vector<int64_t> TakeAll(PieceList& pieces, double budget) {
  std::vector<int64_t> taken;
  while (!pieces.done()) {
    const PieceList::Range range = pieces.Take(budget);
    taken.push_back(range.end - range.begin);
  }
  return taken;
}

TEST(PieceList, EmptyIsDone) {
  PieceList pieces;
  EXPECT_TRUE(pieces.done());
  pieces.AddGroup(0, 0, 1.0);
  EXPECT_TRUE(pieces.done());
  const PieceList::Range range = pieces.Take(10);
  EXPECT_EQ(range.begin, range.end);
  EXPECT_EQ(pieces.Cost(range), 0);
}

TEST(PieceList, TakesPiecesUntilTheBudgetIsReached) {
  PieceList pieces;
  pieces.AddGroup(-1, 10, 2.0);
  EXPECT_EQ(TakeAll(pieces, 6.0), (std::vector<int64_t>{3, 3, 3, 1}));
  PieceList odd;
  odd.AddGroup(-1, 10, 2.0);
  EXPECT_EQ(TakeAll(odd, 5.0), (std::vector<int64_t>{3, 3, 3, 1}));
}

TEST(PieceList, TakesOnePieceHoweverSmallTheBudget) {
  PieceList pieces;
  pieces.AddGroup(-1, 3, 100.0);
  EXPECT_EQ(TakeAll(pieces, 1e-9), (std::vector<int64_t>{1, 1, 1}));
}

TEST(PieceList, ARangeMayCrossGroups) {
  PieceList pieces;
  pieces.AddGroup(0, 2, 1.0);
  pieces.AddGroup(1, 1, 5.0);
  pieces.AddGroup(2, 4, 1.0);
  const PieceList::Range first = pieces.Take(8.0);
  EXPECT_EQ(first.begin, 0);
  EXPECT_EQ(first.end, 4);
  EXPECT_EQ(pieces.Cost(first), 8.0);
  const PieceList::Range second = pieces.Take(8.0);
  EXPECT_EQ(second.end, 7);
  EXPECT_EQ(pieces.Cost(second), 3.0);
  EXPECT_TRUE(pieces.done());
}

TEST(PieceList, NumbersArePiecesOfTheirGroups) {
  PieceList pieces;
  pieces.AddGroup(7, 2, 1.0);
  pieces.AddGroup(3, 0, 1.0);
  pieces.AddGroup(9, 3, 1.0);
  const std::vector<std::pair<int, int64_t>> expected = {{7, 0}, {7, 1}, {9, 0}, {9, 1}, {9, 2}};
  for (size_t number = 0; number < expected.size(); ++number) {
    const PieceList::Piece piece = pieces.At(static_cast<int64_t>(number));
    EXPECT_EQ(pieces.owner(piece.group), expected[number].first) << number;
    EXPECT_EQ(piece.index, expected[number].second) << number;
  }
}

TEST(PieceList, GivenUpPiecesCostNothing) {
  PieceList pieces;
  pieces.AddGroup(0, 100, 1.0);
  pieces.AddGroup(1, 100, 1.0);
  EXPECT_EQ(pieces.Take(10.0).end, 10);
  pieces.GiveUp(0);
  const PieceList::Range range = pieces.Take(10.0);
  EXPECT_EQ(range.end, 110);
  EXPECT_EQ(pieces.Cost(range), 10.0);
}

}  // namespace
}  // namespace longwave
