#include "model/encoder/piece_list.h"

#include <algorithm>
#include <cmath>

namespace longwave {

void PieceList::AddGroup(int owner, int64_t pieces, double cost) {
  if (pieces == 0) return;
  groups_.push_back({owner, total_, total_ + pieces, cost});
  total_ += pieces;
}

PieceList::Range PieceList::Take(double budget) {
  Range range{next_, next_};
  if (done()) return range;
  for (int group = GroupOf(next_); group < static_cast<int>(groups_.size()); ++group) {
    const Group& g = groups_[group];
    const int64_t left = g.end - range.end;
    // Rounded up: the last piece may pass the budget, so that every call gets on.
    const double wanted = g.cost > 0 ? std::ceil(budget / g.cost) : static_cast<double>(left);
    const int64_t taken =
        wanted >= static_cast<double>(left) ? left : static_cast<int64_t>(std::max(wanted, 1.0));
    range.end += taken;
    budget -= static_cast<double>(taken) * g.cost;
    if (budget <= 0) break;
  }
  next_ = range.end;
  return range;
}

double PieceList::Cost(Range range) const {
  double cost = 0;
  if (range.begin == range.end) return cost;
  for (int group = GroupOf(range.begin); group < static_cast<int>(groups_.size()); ++group) {
    const Group& g = groups_[group];
    if (g.begin >= range.end) break;
    cost +=
        static_cast<double>(std::min(g.end, range.end) - std::max(g.begin, range.begin)) * g.cost;
  }
  return cost;
}

PieceList::Piece PieceList::At(int64_t number) const {
  const int group = GroupOf(number);
  return {group, number - groups_[group].begin};
}

void PieceList::GiveUp(int owner) {
  for (Group& group : groups_) {
    if (group.owner == owner) group.cost = 0;
  }
}

int PieceList::GroupOf(int64_t number) const {
  const auto after =
      std::upper_bound(groups_.begin(), groups_.end(), number,
                       [](int64_t n, const Group& group) { return n < group.begin; });
  return static_cast<int>(after - groups_.begin()) - 1;
}

}  // namespace longwave
