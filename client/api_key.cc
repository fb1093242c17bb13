#include "client/api_key.h"

#include <algorithm>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace longwave::client {
namespace {

namespace experimental = grpc::experimental;

// Servers take 16 KiB of metadata in all.
constexpr size_t kMaxKeyBytes = 1024;

class ApiKeyInterceptor final : public experimental::Interceptor {
 public:
  explicit ApiKeyInterceptor(const std::string& authorization) : authorization_(authorization) {}

  void Intercept(experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            experimental::InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      methods->GetSendInitialMetadata()->emplace("authorization", authorization_);
    }
    methods->Proceed();
  }

 private:
  const std::string& authorization_;  // the factory's, which lives as long as its channel
};

class ApiKeyInterceptorFactory final : public experimental::ClientInterceptorFactoryInterface {
 public:
  explicit ApiKeyInterceptorFactory(absl::string_view key)
      : authorization_(absl::StrCat("Bearer ", key)) {}

  experimental::Interceptor* CreateClientInterceptor(
      experimental::ClientRpcInfo* /*info*/) override {
    return new ApiKeyInterceptor(authorization_);  // gRPC takes it
  }

 private:
  const std::string authorization_;
};

}  // namespace

absl::Status CheckApiKey(absl::string_view key) {
  const bool visible =
      std::all_of(key.begin(), key.end(), [](char c) { return c > 32 && c < 127; });
  if (!key.empty() && key.size() <= kMaxKeyBytes && visible) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("an API key has 1 to ", kMaxKeyBytes,
                   " visible ASCII characters and no blanks; this one has ", key.size(), " bytes",
                   visible ? "" : " and some that are not"));
}

bool IsLoopbackTarget(absl::string_view target) {
  if (absl::StartsWith(target, "unix:") || absl::StartsWith(target, "unix-abstract:")) return true;
  for (const char* scheme : {"dns:", "ipv4:", "ipv6:"}) absl::ConsumePrefix(&target, scheme);
  while (absl::ConsumePrefix(&target, "/")) {
  }
  if (absl::StrContains(target, ',')) return false;  // several addresses: each would need a look
  if (target == "localhost" || absl::StartsWith(target, "localhost:")) return true;
  if (target == "[::1]" || absl::StartsWith(target, "[::1]:")) return true;
  // "127." may begin a host's name too.
  const absl::string_view host = target.substr(0, target.find(':'));
  return absl::StartsWith(host, "127.") && std::all_of(host.begin(), host.end(), [](char c) {
           return (c >= '0' && c <= '9') || c == '.';
         });
}

std::unique_ptr<experimental::ClientInterceptorFactoryInterface> MakeApiKeyInterceptor(
    absl::string_view key) {
  return std::make_unique<ApiKeyInterceptorFactory>(key);
}

}  // namespace longwave::client
