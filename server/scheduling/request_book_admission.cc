// RequestBook: what lets requests in, and what is kept of their tenants.
#include <algorithm>

#include "model/base/error.h"
#include "server/scheduling/draining_error.h"
#include "server/scheduling/request_book.h"

namespace longwave {
namespace {

constexpr int64_t kIdBytes = sizeof(int32_t);
// One slice in ten goes out of turn to what has waited long.
constexpr double kFairShare = 0.9;

const Tenant& TenantOf(const RequestTerms& terms) {
  static const Tenant& nameless = *new Tenant();
  return terms.tenant == nullptr ? nameless : *terms.tenant;
}

int64_t HostBytes(const RequestPrice& price, const RequestTerms& terms) {
  return kIdBytes * price.tokens + terms.reply_bytes;
}

// Returns what the request keeps until its last sequence has ended.
HostReservation Reserve(const HostAccounts& accounts, const RequestPrice& price,
                        const RequestTerms& terms) {
  const int64_t bytes = HostBytes(price, terms);
  if (terms.reply == nullptr) return {accounts, bytes};
  *terms.reply = HostReservation(accounts, terms.reply_bytes);
  return {accounts, bytes - terms.reply_bytes};
}

}  // namespace

absl::StatusOr<RequestBook::Ticket> RequestBook::Admit(Sequences sequences,
                                                       const RequestPrice& price,
                                                       const RequestTerms& terms, Instant now) {
  MutexLock lock(&mutex_);
  if (draining_) return DrainingError();
  AdmissionDecision decision = Decide(price, terms, now);
  if (!decision.status.ok()) return std::move(decision.status);
  TenantEntry& tenant = Enter(TenantOf(terms), now);
  tenant.quota.Take(price.shared_seconds * price.weather, now);
  ++tenant.open;
  const Ticket ticket = next_number_;
  OpenRequest& request = open_[ticket];
  request.flow = FlowOf(terms);
  request.tenant = &tenant;
  request.tag = virtual_clocks_[request.flow].Arrive(price.encoder_seconds);
  request.sequences = sequences.size();
  request.memory = Reserve(AccountsOf(request.flow, tenant), price, terms);
  ++open_by_flow_[request.flow];
  for (auto& sequence : sequences) {
    sequence->ticket = ticket;
    sequence->flow = request.flow;
    sequence->key = {.finish = request.tag, .deadline = terms.deadline, .number = next_number_++};
    sequence->arrival_slice = executor_.slices;
    queue_.Push(std::move(sequence));
  }
  Wake();
  return ticket;
}

AdmissionDecision RequestBook::Foresee(const RequestPrice& price, const RequestTerms& terms,
                                       Instant now) const {
  MutexLock lock(&mutex_);
  AdmissionDecision decision = Decide(price, terms, now);
  if (draining_) decision.status = DrainingError();
  return decision;
}

AdmissionDecision RequestBook::Decide(const RequestPrice& price, const RequestTerms& terms,
                                      Instant now) const {
  const Flow flow = FlowOf(terms);
  const auto clock = virtual_clocks_.find(flow);
  const double virtual_now = clock == virtual_clocks_.end() ? 0 : clock->second.now();
  const auto tenant = tenants_.find(TenantOf(terms).name);
  AdmissionRequest request{.priority = terms.priority,
                           .takes = {.sequences = price.sequences,
                                     .tokens = price.tokens,
                                     .host_bytes = HostBytes(price, terms)},
                           .seconds = price.seconds * price.weather,
                           .high_seconds = price.seconds * price.weather * price.high_ratio,
                           .longest_seconds = price.longest_seconds * price.weather,
                           .deadline = terms.deadline};
  AdmissionState state{
      .now = now,
      .all = {.sequences = queue_.sequences(),
              .tokens = queue_.tokens(),
              .host_bytes = host_memory_->reserved()},
      .batch_class = HeldBy([](const Flow& other) { return other.priority == Priority::kBatch; }),
      .rate = GuaranteedRate(flow)};
  state.batch_class.host_bytes = batch_memory_->reserved();
  if (!TenantOf(terms).name.empty()) {
    state.tenant = HeldBy([&](const Flow& other) { return other.tenant == flow.tenant; });
    if (tenant != tenants_.end()) state.tenant->host_bytes = tenant->second.memory->reserved();
  }
  state.total_seconds = price.weather * (ToSeconds(queue_.predicted()) + executor_.running_seconds);
  state.ahead_seconds = price.weather * SecondsAhead(flow, virtual_now + price.encoder_seconds);
  if (!price.alone) state.batch_seconds = price.weather * options_.max_batch_seconds;
  if (tenant != tenants_.end()) {
    tenant->second.quota.Follow(TenantOf(terms), now);
    state.quota_wait_seconds = tenant->second.quota.WaitSeconds(now);
  }
  return DecideAdmission(request, state, options_.admission);
}

HostAccounts RequestBook::AccountsOf(const Flow& flow, const TenantEntry& tenant) const {
  HostAccounts accounts = {host_memory_, tenant.memory};
  if (flow.priority == Priority::kBatch) accounts.push_back(batch_memory_);
  return accounts;
}

Holding RequestBook::HeldBy(absl::FunctionRef<bool(const Flow&)> whose) const {
  Holding held;
  for (const auto& [flow, line] : queue_.lines()) {
    if (!whose(flow)) continue;
    held.sequences += static_cast<int64_t>(line.in_order.size());
    held.tokens += line.tokens;
  }
  return held;
}

double RequestBook::SecondsAhead(const Flow& flow, double tag) const {
  double seconds = 0;
  for (const Running& running : executor_.running) {
    if (running.flow == flow && running.finish <= tag) seconds += running.seconds;
  }
  const SequenceQueue::Line* const line = queue_.Find(flow);
  if (line == nullptr) return seconds;
  return seconds + ToSeconds(line->PredictedUpTo(tag));
}

double RequestBook::GuaranteedRate(const Flow& flow) const {
  double classes = ClassWeight(flow.priority);
  double shares = flow.share;
  bool shared = false;
  bool other_class = false;
  for (const auto& [other, requests] : open_by_flow_) {
    if (other == flow) continue;
    shared = true;
    if (other.priority == flow.priority) {
      shares += other.share;
    } else if (!other_class) {
      other_class = true;
      classes += ClassWeight(other.priority);
    }
  }
  const double rate = ClassWeight(flow.priority) / classes * (flow.share / shares);
  return shared ? kFairShare * rate : 1;
}

Flow RequestBook::FlowOf(const RequestTerms& terms) const {
  const Tenant& tenant = TenantOf(terms);
  const auto entry = tenants_.find(tenant.name);
  return {.priority = terms.priority,
          .tenant = entry == tenants_.end() ? 0 : entry->second.number,
          .share = tenant.share};
}

RequestBook::TenantEntry& RequestBook::Enter(const Tenant& tenant, Instant now) {
  const auto [entry, fresh] =
      tenants_.try_emplace(tenant.name, TenantEntry{.quota = QuotaBucket(tenant, now)});
  if (fresh) entry->second.number = next_tenant_++;
  return entry->second;
}

void RequestBook::Leave(const OpenRequest& request) {
  const auto flow = open_by_flow_.find(request.flow);
  if (--flow->second == 0) open_by_flow_.erase(flow);
  if (--request.tenant->open > 0) return;
  // The tags of its clocks mean nothing once it has no requests.
  virtual_clocks_.erase({.priority = Priority::kInteractive, .tenant = request.tenant->number});
  virtual_clocks_.erase({.priority = Priority::kBatch, .tenant = request.tenant->number});
}

}  // namespace longwave
