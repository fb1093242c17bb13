#ifndef LONGWAVE_SERVER_SECURITY_DIGEST_TABLE_H_
#define LONGWAVE_SERVER_SECURITY_DIGEST_TABLE_H_

#include <cstdint>
#include <vector>

#include "server/security/sha256.h"

namespace longwave {

// Digests of API keys, searched in time that depends on their number alone: not on which of them
// matches, nor on how much of one does.
class DigestTable {
 public:
  void Add(const Sha256Digest& digest) { digests_.push_back(digest); }
  // Index of the digest in the order added; -1: none. O(size), never early.
  int64_t Find(const Sha256Digest& digest) const;
  size_t size() const { return digests_.size(); }

 private:
  std::vector<Sha256Digest> digests_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SECURITY_DIGEST_TABLE_H_
