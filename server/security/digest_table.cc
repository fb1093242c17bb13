#include "server/security/digest_table.h"

#include <openssl/crypto.h>

namespace longwave {

int64_t DigestTable::Find(const Sha256Digest& digest) const {
  uint64_t found = ~uint64_t{0};
  for (size_t i = 0; i < digests_.size(); ++i) {
    // 0 or 1..255: the OR of all differences. The subtraction borrows for 0 alone, so the mask
    // selects without a branch.
    const auto differs =
        static_cast<uint64_t>(CRYPTO_memcmp(digests_[i].data(), digest.data(), digest.size()));
    const uint64_t equal = uint64_t{0} - ((differs - 1) >> 63);
    found = (found & ~equal) | (static_cast<uint64_t>(i) & equal);
  }
  return static_cast<int64_t>(found);
}

}  // namespace longwave
