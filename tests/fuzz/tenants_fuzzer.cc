#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "server/security/tenant_registry.h"

// The file of tenants. What is accepted can be used: names and numbers as the scheduler needs them.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto registry =
      longwave::TenantRegistry::Parse(absl::string_view(reinterpret_cast<const char*>(data), size));
  if (!registry.ok()) return 0;
  if ((*registry)->tenants().empty() || (*registry)->Find("no such key") != nullptr) std::abort();
  for (const auto& tenant : (*registry)->tenants()) {
    if (tenant->name.empty() || !(tenant->share > 0) || !(tenant->max_compute_share > 0) ||
        !(tenant->burst_seconds >= 0)) {
      std::abort();
    }
  }
  return 0;
}
