#include "server/scheduling/consumer_gate.h"

#include <utility>

namespace longwave {

ConsumerGate::ConsumerGate(std::shared_ptr<SequenceConsumer> consumer)
    : consumer_(std::move(consumer)) {}

RowSink::Answer ConsumerGate::OnRows(int64_t first_row, RowBlock rows) {
  SequenceConsumer* const consumer = Enter();
  if (consumer == nullptr) return RowSink::Answer::kTaken;
  const RowSink::Answer answer = consumer->OnRows(first_row, rows);
  Leave();
  return answer;
}

void ConsumerGate::OnProgress(double fraction) {
  SequenceConsumer* const consumer = Enter();
  if (consumer == nullptr) return;
  consumer->OnProgress(fraction);
  Leave();
}

bool ConsumerGate::End(absl::StatusOr<SequenceReport> result, const SequenceTimes& times) {
  std::shared_ptr<SequenceConsumer> consumer;
  {
    MutexLock lock(&mutex_);
    while (entered_) left_.Wait(&mutex_);
    consumer = std::move(consumer_);
    consumer_ = nullptr;
  }
  if (consumer == nullptr) return false;
  consumer->OnEnd(std::move(result), times);
  return true;
}

SequenceConsumer* ConsumerGate::Enter() {
  MutexLock lock(&mutex_);
  entered_ = consumer_ != nullptr;
  return consumer_.get();
}

void ConsumerGate::Leave() {
  MutexLock lock(&mutex_);
  entered_ = false;
  left_.NotifyAll();
}

}  // namespace longwave
