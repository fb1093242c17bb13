#ifndef LONGWAVE_MODEL_BASE_LRU_CACHE_H_
#define LONGWAVE_MODEL_BASE_LRU_CACHE_H_

#include <cstdint>
#include <list>
#include <map>
#include <utility>

namespace longwave {

// Values by key, bounded by the sum of their costs (bytes, or 1 each); the least recently used ones
// go first. Not thread-safe: whoever owns it locks.
template <typename Key, typename Value>
class LruCache {
 public:
  // Capacity in the unit of the costs.
  explicit LruCache(int64_t capacity) : capacity_(capacity) {}
  LruCache(const LruCache&) = delete;
  LruCache& operator=(const LruCache&) = delete;

  // Null if it is not there; else it becomes the most recently used. Valid until the next Insert
  // or Clear.
  Value* Find(const Key& key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return &entries_.front().value;
  }

  // Puts the value in as the most recently used, in place of one of the same key, and destroys
  // others until the costs fit. A value dearer than the whole capacity stays, alone. The reference
  // is valid as Find's is.
  Value& Insert(const Key& key, Value value, int64_t cost) {
    Erase(key);
    entries_.push_front({key, std::move(value), cost});
    index_.emplace(key, entries_.begin());
    cost_ += cost;
    while (cost_ > capacity_ && entries_.size() > 1) Erase(Key(entries_.back().key));
    return entries_.front().value;
  }

  // The value of the key, made by `make(key)` if it is not there. If that throws, nothing changed.
  template <typename Make>
  Value& GetOrMake(const Key& key, int64_t cost, Make make) {
    if (Value* const found = Find(key)) return *found;
    return Insert(key, make(key), cost);
  }

  void Clear() {
    index_.clear();
    entries_.clear();
    cost_ = 0;
  }

  int64_t size() const { return static_cast<int64_t>(entries_.size()); }
  int64_t cost() const { return cost_; }
  int64_t capacity() const { return capacity_; }

 private:
  struct Entry {
    Key key;
    Value value;
    int64_t cost;
  };

  void Erase(const Key& key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return;
    cost_ -= found->second->cost;
    entries_.erase(found->second);
    index_.erase(found);
  }

  const int64_t capacity_;
  int64_t cost_ = 0;
  std::list<Entry> entries_;  // most recently used first
  std::map<Key, typename std::list<Entry>::iterator> index_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_BASE_LRU_CACHE_H_
