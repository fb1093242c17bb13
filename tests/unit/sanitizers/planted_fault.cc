// A program with one fault, chosen by its argument. A sanitizer that does not report it is not
// watching the other tests either.
#include <climits>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "model/base/mutex.h"

namespace longwave {
namespace {

// A queue that is pushed to by two threads, with or without its lock.
class Queue {
 public:
  void PushWithoutLock(int value) { items_.push_back(value); }
  void Push(int value) {
    MutexLock lock(&mutex_);
    items_.push_back(value);
  }

 private:
  Mutex mutex_;
  std::vector<int> items_;  // deliberately not declared as guarded
};

void PushFromTwoThreads(bool with_lock) {
  Queue queue;
  const auto push = [&queue, with_lock] {
    for (int i = 0; i < 1000; ++i) with_lock ? queue.Push(i) : queue.PushWithoutLock(i);
  };
  std::thread first(push);
  std::thread second(push);
  first.join();
  second.join();
}

int ReadBehindTheEnd(int size) {
  const std::vector<int> values(size, 1);
  const int* const data = values.data();
  return data[size];
}

int Overflow(int by) { return INT_MAX + by; }

int Run(const char* fault, int one) {
  if (std::strcmp(fault, "race") == 0) PushFromTwoThreads(/*with_lock=*/false);
  if (std::strcmp(fault, "no-race") == 0) PushFromTwoThreads(/*with_lock=*/true);
  if (std::strcmp(fault, "address") == 0) std::printf("%d\n", ReadBehindTheEnd(one));
  if (std::strcmp(fault, "undefined") == 0) std::printf("%d\n", Overflow(one));
  return 0;
}

}  // namespace
}  // namespace longwave

int main(int argc, char** argv) {
  // The count of arguments, so that the compiler cannot foresee the faults.
  return argc == 2 ? longwave::Run(argv[1], argc - 1) : 2;
}
