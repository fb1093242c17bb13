#ifndef LONGWAVE_SERVER_SECURITY_SECURITY_H_
#define LONGWAVE_SERVER_SECURITY_SECURITY_H_

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "server/observability/log.h"
#include "server/observability/service_metrics.h"
#include "server/security/authenticator.h"
#include "server/security/security_options.h"
#include "server/security/tls_store.h"

namespace longwave {

// The files that options name, in use and watched.
class Security {
 public:
  // Reads and checks the files. `log` (may be null) outlives this. INVALID_ARGUMENT: every problem,
  // one a line, each naming its flag.
  static absl::StatusOr<std::unique_ptr<Security>> Create(const SecurityOptions& options,
                                                          Logger* log);

  // Starts looking for changes. Called once.
  void Watch();

  // Null: plaintext.
  const TlsStore* tls() const { return tls_.get(); }
  // Null: everyone may call.
  const Authenticator* authenticator() const { return authenticator_.get(); }
  SecuritySample Sample() const;

 private:
  explicit Security(const SecurityOptions& options) : options_(options) {}

  const SecurityOptions options_;
  std::unique_ptr<TlsStore> tls_;
  std::unique_ptr<Authenticator> authenticator_;
  std::optional<ReloadLoop> loop_;  // last: its thread uses the above
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SECURITY_SECURITY_H_
