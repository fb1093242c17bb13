#ifndef LONGWAVE_SERVER_SECURITY_TLS_MATERIAL_H_
#define LONGWAVE_SERVER_SECURITY_TLS_MATERIAL_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace longwave {

// What a TLS port shows and trusts: PEM texts that belong together.
struct TlsMaterial {
  std::string certificate_chain;  // the server's own first
  std::string private_key;
  std::string client_roots;  // empty: clients need no certificate
  // Seconds since 1970 when the first certificate of the chain, or of the roots still valid, ends.
  int64_t certificate_not_after = 0;
  int64_t client_ca_not_after = 0;
};

// Checks three PEM texts as a server would use them at `now` (seconds since 1970) and fills in when
// they end. INVALID_ARGUMENT says which of them is wrong and why: not PEM, empty, a key with a
// passphrase, a key of another certificate, a key or signature weaker than OpenSSL's security level
// allows, not valid now. The text has nothing of the key in it.
absl::StatusOr<TlsMaterial> CheckTlsMaterial(std::string certificate_chain, std::string private_key,
                                             std::string client_roots, int64_t now);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SECURITY_TLS_MATERIAL_H_
