#include "server/security/sha256.h"

#include <openssl/sha.h>

namespace longwave {

Sha256Digest Sha256Of(absl::string_view text) {
  Sha256Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return digest;
}

}  // namespace longwave
