#ifndef LONGWAVE_SERVER_SECURITY_AUTHENTICATOR_H_
#define LONGWAVE_SERVER_SECURITY_AUTHENTICATOR_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/base/mutex.h"
#include "server/security/reloader.h"
#include "server/security/tenant_registry.h"

namespace longwave {

// Tells callers by their API keys. The file of tenants is read again when it changes; one that is
// wrong leaves the old tenants in place. Thread-safe but for the reloader, which belongs to one
// thread.
class Authenticator {
 public:
  // `log` (may be null) outlives this. INVALID_ARGUMENT lists what is wrong with the file.
  static absl::StatusOr<std::unique_ptr<Authenticator>> Create(const std::string& tenants_file,
                                                               Logger* log);

  // The tenant of a call from the values of its `authorization` metadata: exactly one, "Bearer
  // <key>". UNAUTHENTICATED otherwise, with one and the same text whatever is wrong.
  absl::StatusOr<std::shared_ptr<const Tenant>> Identify(
      absl::Span<const absl::string_view> authorization) const;

  // Checks a request's own `tenant` field against who sent it: empty, or the same.
  // PERMISSION_DENIED.
  absl::Status CheckClaim(const Tenant& tenant, absl::string_view claim) const;

  // Refused calls, in the order of catalogue::kAuthFailureReasons.
  std::array<int64_t, 4> failures() const;
  Reloader& reloader() { return reloader_; }
  const Reloader& reloader() const { return reloader_; }

 private:
  enum class Failure { kMissing, kMalformed, kUnknownKey, kTenantMismatch };

  Authenticator(const std::string& tenants_file, Logger* log);
  absl::Status Apply(const std::vector<std::string>& contents);
  void Count(Failure failure) const;

  mutable Mutex mutex_;
  // Shared with calls that are looking while it is replaced.
  std::shared_ptr<const TenantRegistry> registry_ ABSL_GUARDED_BY(mutex_);
  mutable std::array<std::atomic<int64_t>, 4> failures_{};
  Reloader reloader_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SECURITY_AUTHENTICATOR_H_
