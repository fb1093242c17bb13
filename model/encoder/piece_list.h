#ifndef LONGWAVE_MODEL_ENCODER_PIECE_LIST_H_
#define LONGWAVE_MODEL_ENCODER_PIECE_LIST_H_

#include <cstdint>
#include <vector>

namespace longwave {

// The independent pieces of one stage of a job, numbered through, and how far they are done. What a
// slice takes depends on costs alone, never on time, so that a run can be repeated.
class PieceList {
 public:
  // Half-open range of piece numbers.
  struct Range {
    int64_t begin = 0;
    int64_t end = 0;
  };
  struct Piece {
    int group = 0;
    int64_t index = 0;  // within the group
  };

  // `pieces` >= 0 pieces of `cost` each, all of them `owner`'s (-1: nobody's).
  void AddGroup(int owner, int64_t pieces, double cost);

  bool done() const { return next_ == total_; }
  // The next pieces, until their cost reaches `budget` (at least one); empty if done.
  Range Take(double budget);
  // What the pieces of `range` cost, given up ones for nothing.
  double Cost(Range range) const;
  Piece At(int64_t number) const;
  int owner(int group) const { return groups_[group].owner; }
  // The owner's pieces that were not taken yet cost nothing; whoever runs them skips them.
  void GiveUp(int owner);

 private:
  struct Group {
    int owner;
    int64_t begin;
    int64_t end;
    double cost;
  };

  int GroupOf(int64_t number) const;

  std::vector<Group> groups_;  // none is empty
  int64_t next_ = 0;
  int64_t total_ = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_PIECE_LIST_H_
