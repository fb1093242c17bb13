#ifndef LONGWAVE_SERVER_SCHEDULING_VIRTUAL_CLOCK_H_
#define LONGWAVE_SERVER_SCHEDULING_VIRTUAL_CLOCK_H_

#include <set>

namespace longwave {

// Virtual time of fair sharing: what each of the requests present would have been served, in
// predicted seconds, if all were served at once in equal shares. A request is tagged with the
// virtual time at which that sharing would end it; serving the least tag first ends no request
// later than the sharing would, and short ones much earlier. Not thread-safe.
class VirtualClock {
 public:
  // The tag of a request that arrives now and needs `seconds`.
  double Arrive(double seconds);
  // The request of this tag wants no more of its share (cancelled, expired).
  void Withdraw(double tag);
  // `seconds` of work were done, for whichever requests. A request that ended early keeps its share
  // until virtual time reaches its tag: the others owe it to those that it overtook.
  void Serve(double seconds);

  double now() const { return now_; }

 private:
  double now_ = 0;
  std::multiset<double> present_;  // tags that virtual time has not reached
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SCHEDULING_VIRTUAL_CLOCK_H_
