#ifndef LONGWAVE_SERVER_SECURITY_TENANT_REGISTRY_H_
#define LONGWAVE_SERVER_SECURITY_TENANT_REGISTRY_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/admission/tenant.h"
#include "server/security/digest_table.h"

namespace longwave {

// Who may call, as a file says it:
//   {"tenants": [{"name": "search", "key_sha256": ["<64 hex digits>"], "share": 3,
//                 "max_compute_share": 0.5, "burst_seconds": 10}]}
// Immutable.
class TenantRegistry {
 public:
  // INVALID_ARGUMENT lists every problem, one a line: unknown or repeated keys of JSON, a name that
  // is not a word of [a-z0-9._-], a repeated name or digest, numbers out of range, nobody at all.
  static absl::StatusOr<std::shared_ptr<const TenantRegistry>> Parse(absl::string_view json);

  // The tenant of a key; null: nobody's. Constant time but for the key's length.
  std::shared_ptr<const Tenant> Find(absl::string_view key) const;

  const std::vector<std::shared_ptr<const Tenant>>& tenants() const { return tenants_; }
  size_t keys() const { return digests_.size(); }

 private:
  friend class TenantFileReader;

  std::vector<std::shared_ptr<const Tenant>> tenants_;
  DigestTable digests_;
  std::vector<size_t> owner_;  // index of the tenant of each digest
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SECURITY_TENANT_REGISTRY_H_
