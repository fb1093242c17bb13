#ifndef LONGWAVE_SERVER_SECURITY_SECURITY_OPTIONS_H_
#define LONGWAVE_SERVER_SECURITY_SECURITY_OPTIONS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace longwave {

// Whether an address to listen on can be reached from this machine only.
bool IsLoopback(absl::string_view address);

// How the port is protected. The files are read again when they change.
struct SecurityOptions {
  std::string tls_certificate;  // PEM chain, the server's own first; empty: plaintext
  std::string tls_key;          // its private key, PEM, no passphrase
  std::string tls_client_ca;    // PEM roots that clients' certificates must lead to; empty: none
  std::string tenants;          // JSON file of tenants and their keys; empty: everyone may call
  // Plaintext on an address that others can reach is a decision, not an accident.
  bool allow_plaintext = false;
  // How often the files are looked at. A second: whoever replaces them need not wait, and a look
  // costs microseconds.
  double reload_seconds = 1;

  bool tls() const { return !tls_certificate.empty(); }
  // Every problem at once, each naming the flag to change. `address`: of the port.
  absl::Status Validate(absl::string_view address) const;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SECURITY_SECURITY_OPTIONS_H_
