#include "server/security/security_options.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace longwave {

bool IsLoopback(absl::string_view address) {
  return absl::StartsWith(address, "127.") || absl::StartsWith(address, "[::1]:") ||
         absl::StartsWith(address, "localhost:") || absl::StartsWith(address, "unix:");
}

absl::Status SecurityOptions::Validate(absl::string_view address) const {
  std::vector<std::string> problems;
  if (tls_certificate.empty() != tls_key.empty()) {
    problems.push_back("--tls_certificate and --tls_key belong together");
  }
  if (!tls_client_ca.empty() && !tls()) {
    problems.push_back("--tls_client_ca needs --tls_certificate and --tls_key");
  }
  if (!tls() && !IsLoopback(address) && !allow_plaintext) {
    problems.push_back(absl::StrCat("--address = ", address,
                                    ": others can reach it, and nothing is encrypted; give "
                                    "--tls_certificate and --tls_key, or say --allow_plaintext"));
  }
  if (!(reload_seconds >= 0.01 && reload_seconds <= 3600)) {
    problems.push_back(absl::StrCat("--reload_interval = ", reload_seconds,
                                    ": accepted are 0.01 to 3600 seconds"));
  }
  if (problems.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
}

}  // namespace longwave
