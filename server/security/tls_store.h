#ifndef LONGWAVE_SERVER_SECURITY_TLS_STORE_H_
#define LONGWAVE_SERVER_SECURITY_TLS_STORE_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/base/mutex.h"
#include "server/security/reloader.h"
#include "server/security/tls_material.h"

namespace longwave {

// Where the certificates of the port lie.
struct TlsFiles {
  std::string certificate;
  std::string key;
  std::string client_ca;  // empty: clients need no certificate
};

// The certificates in use. A new set is taken only whole and only if it is right; else the old one
// stays. Current is thread-safe; the reloader belongs to one thread.
class TlsStore {
 public:
  using WallClock = std::function<std::chrono::system_clock::time_point()>;

  // `log` (may be null) outlives the store. INVALID_ARGUMENT says what is wrong with the files.
  static absl::StatusOr<std::unique_ptr<TlsStore>> Create(
      const TlsFiles& files, Logger* log, WallClock now = std::chrono::system_clock::now);

  // Never null. Another pointer means other certificates. Shared, since a handshake may still read
  // the old set when the new one comes.
  std::shared_ptr<const TlsMaterial> Current() const;
  bool wants_client_certificates() const { return wants_client_certificates_; }
  Reloader& reloader() { return reloader_; }
  const Reloader& reloader() const { return reloader_; }

 private:
  TlsStore(const TlsFiles& files, Logger* log, WallClock now);
  absl::Status Apply(const std::vector<std::string>& contents);

  const bool wants_client_certificates_;
  const WallClock now_;
  mutable Mutex mutex_;
  std::shared_ptr<const TlsMaterial> current_ ABSL_GUARDED_BY(mutex_);
  Reloader reloader_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SECURITY_TLS_STORE_H_
