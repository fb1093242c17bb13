#include "server/security/authenticator.h"

#include <utility>

#include "absl/strings/match.h"
#include "model/base/error.h"
#include "server/observability/metric_catalogue.h"
#include "server/observability/safe_text.h"

namespace longwave {
namespace {

constexpr absl::string_view kScheme = "Bearer ";
static_assert(catalogue::kAuthFailureReasons.size() == 4);

}  // namespace

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Create(
    const std::string& tenants_file, Logger* log) {
  std::unique_ptr<Authenticator> authenticator(new Authenticator(tenants_file, log));
  if (absl::Status status = authenticator->reloader_.Load(); !status.ok()) return status;
  return authenticator;
}

Authenticator::Authenticator(const std::string& tenants_file, Logger* log)
    : reloader_(
          "tenants_reload", {tenants_file},
          [this](const std::vector<std::string>& contents) { return Apply(contents); }, log) {}

absl::Status Authenticator::Apply(const std::vector<std::string>& contents) {
  auto registry = TenantRegistry::Parse(contents[0]);
  if (!registry.ok()) return registry.status();
  MutexLock lock(&mutex_);
  registry_ = *std::move(registry);
  return absl::OkStatus();
}

void Authenticator::Count(Failure failure) const {
  failures_[static_cast<size_t>(failure)].fetch_add(1, std::memory_order_relaxed);
}

absl::StatusOr<std::shared_ptr<const Tenant>> Authenticator::Identify(
    absl::Span<const absl::string_view> authorization) const {
  std::shared_ptr<const TenantRegistry> registry;
  {
    MutexLock lock(&mutex_);
    registry = registry_;
  }
  if (authorization.empty()) {
    Count(Failure::kMissing);
  } else if (authorization.size() > 1 || !absl::StartsWithIgnoreCase(authorization[0], kScheme)) {
    Count(Failure::kMalformed);
  } else {
    auto tenant = registry->Find(authorization[0].substr(kScheme.size()));
    if (tenant != nullptr) return tenant;
    Count(Failure::kUnknownKey);
  }
  // The same text for all: whoever tries keys learns nothing from it.
  return MakeError(ErrorReason::kUnauthenticated,
                   "a valid API key is needed, as metadata authorization: Bearer <key>");
}

absl::Status Authenticator::CheckClaim(const Tenant& tenant, absl::string_view claim) const {
  if (claim.empty() || claim == tenant.name) return absl::OkStatus();
  Count(Failure::kTenantMismatch);
  return MakeError(
      {.reason = ErrorReason::kPermissionDenied, .field = "tenant", .value = SafeText(claim)},
      "the API key belongs to another tenant");
}

std::array<int64_t, 4> Authenticator::failures() const {
  std::array<int64_t, 4> counts{};
  for (size_t i = 0; i < counts.size(); ++i) {
    counts[i] = failures_[i].load(std::memory_order_relaxed);
  }
  return counts;
}

}  // namespace longwave
