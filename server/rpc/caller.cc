#include "server/rpc/caller.h"

#include <vector>

namespace longwave {

absl::StatusOr<std::shared_ptr<const Tenant>> IdentifyCaller(
    const Authenticator* authenticator, const grpc::ServerContextBase& context) {
  if (authenticator == nullptr) return std::shared_ptr<const Tenant>();
  std::vector<absl::string_view> values;
  const auto [begin, end] = context.client_metadata().equal_range("authorization");
  for (auto entry = begin; entry != end; ++entry) {
    values.emplace_back(entry->second.data(), entry->second.size());
  }
  return authenticator->Identify(values);
}

absl::Status CheckTenantField(const Authenticator* authenticator, const Tenant* tenant,
                              absl::string_view field) {
  if (tenant == nullptr) return absl::OkStatus();
  return authenticator->CheckClaim(*tenant, field);
}

}  // namespace longwave
