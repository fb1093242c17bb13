#include "server/security/security.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace longwave {
namespace {

// Each line of a message, behind the flag that it is about.
void AddProblems(absl::string_view flag, const absl::Status& status,
                 std::vector<std::string>& problems) {
  for (absl::string_view line : absl::StrSplit(status.message(), '\n')) {
    problems.push_back(absl::StrCat(flag, ": ", line));
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Security>> Security::Create(const SecurityOptions& options,
                                                           Logger* log) {
  std::unique_ptr<Security> security(new Security(options));
  std::vector<std::string> problems;
  if (options.tls()) {
    auto tls = TlsStore::Create({.certificate = options.tls_certificate,
                                 .key = options.tls_key,
                                 .client_ca = options.tls_client_ca},
                                log);
    if (tls.ok()) {
      security->tls_ = *std::move(tls);
    } else {
      AddProblems("--tls_certificate, --tls_key, --tls_client_ca", tls.status(), problems);
    }
  }
  if (!options.tenants.empty()) {
    auto authenticator = Authenticator::Create(options.tenants, log);
    if (authenticator.ok()) {
      security->authenticator_ = *std::move(authenticator);
    } else {
      AddProblems("--tenants", authenticator.status(), problems);
    }
  }
  if (!problems.empty()) return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
  return security;
}

void Security::Watch() {
  std::vector<Reloader*> reloaders;
  if (tls_ != nullptr) reloaders.push_back(&tls_->reloader());
  if (authenticator_ != nullptr) reloaders.push_back(&authenticator_->reloader());
  if (!reloaders.empty()) {
    loop_.emplace(std::move(reloaders), FromSeconds(options_.reload_seconds));
  }
}

SecuritySample Security::Sample() const {
  SecuritySample sample;
  if (tls_ != nullptr) {
    const std::shared_ptr<const TlsMaterial> material = tls_->Current();
    sample.certificate_not_after = material->certificate_not_after;
    sample.client_ca_not_after = material->client_ca_not_after;
    sample.tls_reloads = {tls_->reloader().successes(), tls_->reloader().failures()};
  }
  if (authenticator_ != nullptr) {
    sample.auth_failures = authenticator_->failures();
    sample.tenant_reloads = {authenticator_->reloader().successes(),
                             authenticator_->reloader().failures()};
  }
  return sample;
}

}  // namespace longwave
