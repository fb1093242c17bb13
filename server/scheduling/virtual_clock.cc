#include "server/scheduling/virtual_clock.h"

namespace longwave {

double VirtualClock::Arrive(double seconds) {
  const double tag = now_ + seconds;
  present_.insert(tag);
  return tag;
}

void VirtualClock::Withdraw(double tag) {
  const auto entry = present_.find(tag);
  if (entry != present_.end()) present_.erase(entry);
}

void VirtualClock::Serve(double seconds) {
  while (!present_.empty()) {
    const double next = *present_.begin();
    const double share = seconds / static_cast<double>(present_.size());
    if (now_ + share < next) {
      now_ += share;
      return;
    }
    seconds -= (next - now_) * static_cast<double>(present_.size());
    now_ = next;
    present_.erase(present_.begin());
    if (seconds <= 0) return;
  }
}

}  // namespace longwave
