#ifndef LONGWAVE_SERVER_SECURITY_DIGEST_TABLE_H_
#define LONGWAVE_SERVER_SECURITY_DIGEST_TABLE_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"

namespace longwave {

// A SHA-256.
using KeyDigest = std::array<unsigned char, 32>;

KeyDigest DigestOfKey(absl::string_view key);

// Digests of API keys, searched in time that depends on their number alone: not on which of them
// matches, nor on how much of one does.
class DigestTable {
 public:
  void Add(const KeyDigest& digest) { digests_.push_back(digest); }
  // Index of the digest in the order added; -1: none. O(size), never early.
  int64_t Find(const KeyDigest& digest) const;
  size_t size() const { return digests_.size(); }

 private:
  std::vector<KeyDigest> digests_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SECURITY_DIGEST_TABLE_H_
