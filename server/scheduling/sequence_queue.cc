#include "server/scheduling/sequence_queue.h"

#include <iterator>

namespace longwave {

Nanoseconds SequenceQueue::Line::PredictedUpTo(double finish) const {
  Nanoseconds before{0};
  Nanoseconds after{0};
  auto first = in_order.begin();
  auto last = in_order.end();
  while (first != last) {
    if (first->first.finish > finish) return before;
    before += first->second->predicted;
    if (++first == last) return before;
    if (std::prev(last)->first.finish <= finish) return predicted - after;
    after += (--last)->second->predicted;
  }
  return before;
}

void SequenceQueue::Push(std::unique_ptr<Sequence> sequence) {
  tokens_ += sequence->tokens;
  predicted_ += sequence->predicted;
  const OrderKey key = sequence->key;
  by_number_[key.number] = sequence.get();
  if (sequence->alone) long_.insert(key.number);
  ++by_model_[sequence->model];
  by_deadline_[{key.deadline, key.number}] = sequence.get();
  Line& line = lines_[sequence->flow];
  line.tokens += sequence->tokens;
  line.predicted += sequence->predicted;
  line.by_due.emplace(DueTime(key.deadline, sequence->predicted), key.number);
  if (sequence->alone) line.long_in_order[key] = sequence.get();
  line.in_order[key] = std::move(sequence);
}

std::unique_ptr<Sequence> SequenceQueue::Take(uint64_t number) {
  const auto entry = by_number_.find(number);
  if (entry == by_number_.end()) return nullptr;
  const Sequence& found = *entry->second;
  by_number_.erase(entry);
  long_.erase(number);
  by_deadline_.erase({found.key.deadline, number});
  tokens_ -= found.tokens;
  predicted_ -= found.predicted;
  const auto model = by_model_.find(found.model);
  if (--model->second == 0) by_model_.erase(model);
  const auto line = lines_.find(found.flow);
  line->second.tokens -= found.tokens;
  line->second.predicted -= found.predicted;
  line->second.by_due.erase({DueTime(found.key.deadline, found.predicted), number});
  line->second.long_in_order.erase(found.key);
  auto node = line->second.in_order.extract(found.key);
  if (line->second.in_order.empty()) lines_.erase(line);
  return std::move(node.mapped());
}

Sequences SequenceQueue::TakeTicket(Scheduler::Ticket ticket) {
  // The sequences of a request are numbered one after the other, from its ticket on.
  Sequences taken;
  for (auto entry = by_number_.lower_bound(ticket);
       entry != by_number_.end() && entry->second->ticket == ticket;
       entry = by_number_.lower_bound(ticket)) {
    taken.push_back(Take(entry->first));
  }
  return taken;
}

Sequences SequenceQueue::TakeExpired(Instant now) {
  Sequences taken;
  while (!by_deadline_.empty() && by_deadline_.begin()->first.first <= now) {
    taken.push_back(Take(by_deadline_.begin()->first.second));
  }
  return taken;
}

Sequences SequenceQueue::TakeAll() {
  Sequences taken;
  while (!by_number_.empty()) taken.push_back(Take(by_number_.begin()->first));
  return taken;
}

Sequences SequenceQueue::TakeModel(const ServedModel& model) {
  std::vector<uint64_t> numbers;
  for (const auto& [number, sequence] : by_number_) {
    if (sequence->model.get() == &model) numbers.push_back(number);
  }
  Sequences taken;
  for (const uint64_t number : numbers) taken.push_back(Take(number));
  return taken;
}

std::set<std::shared_ptr<ServedModel>> SequenceQueue::Models() const {
  std::set<std::shared_ptr<ServedModel>> models;
  for (const auto& [model, sequences] : by_model_) models.insert(model);
  return models;
}

const SequenceQueue::Line* SequenceQueue::Find(const Flow& flow) const {
  const auto line = lines_.find(flow);
  return line == lines_.end() ? nullptr : &line->second;
}

const Sequence* SequenceQueue::OldestLong() const {
  return long_.empty() ? nullptr : Find(*long_.begin());
}

void SequenceQueue::CountPass(int64_t long_bytes) {
  for (const auto& [flow, line] : lines_) {
    if (line.long_in_order.empty()) continue;
    Sequence& first = *line.long_in_order.begin()->second;
    if (first.peak_bytes > long_bytes) ++first.passed;
  }
}

const Sequence* SequenceQueue::Impatient() const {
  const Sequence* impatient = nullptr;
  for (const auto& [flow, line] : lines_) {
    if (line.long_in_order.empty()) continue;
    const Sequence& first = *line.long_in_order.begin()->second;
    if (first.passed < kMostPasses) continue;
    if (impatient == nullptr || first.key.number < impatient->key.number) impatient = &first;
  }
  return impatient;
}

const Sequence* SequenceQueue::Find(uint64_t number) const {
  const auto entry = by_number_.find(number);
  return entry == by_number_.end() ? nullptr : entry->second;
}

Instant SequenceQueue::NextDeadline() const {
  return by_deadline_.empty() ? kNever : by_deadline_.begin()->first.first;
}

}  // namespace longwave
