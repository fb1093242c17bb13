#include "client/load/load_result.h"

namespace longwave::load {

void GroupResult::Merge(const GroupResult& other) {
  offered += other.offered;
  offered_tokens += other.offered_tokens;
  good += other.good;
  good_tokens += other.good_tokens;
  late += other.late;
  wrong += other.wrong;
  shed += other.shed;
  expired += other.expired;
  failed += other.failed;
  cancelled += other.cancelled;
  left += other.left;
  in_flight_at_end += other.in_flight_at_end;
  latency.Merge(other.latency);
  shed_latency.Merge(other.shed_latency);
  for (const auto& [name, alike] : other.endings) {
    endings[name].calls += alike.calls;
    endings[name].latency.Merge(alike.latency);
  }
  since_sent.Merge(other.since_sent);
  overhead.Merge(other.overhead);
  queue.Merge(other.queue);
  compute.Merge(other.compute);
  server.Merge(other.server);
}

}  // namespace longwave::load
