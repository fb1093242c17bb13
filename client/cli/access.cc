#include "client/cli/access.h"

#include <grpcpp/security/credentials.h>

#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/api_key.h"

namespace longwave::cli {
namespace {

// A bundle of all public roots has a quarter of this; a larger file is the wrong one.
constexpr std::streamsize kMaxFileBytes = 1 << 20;

absl::StatusOr<std::string> ReadSmallFile(absl::string_view option, const std::string& path) {
  const auto problem = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(option, " ", path, ": ", what));
  };
  std::ifstream file(path, std::ios::binary);
  if (!file) return problem("cannot be read");
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), kMaxFileBytes + 1);
  if (file.bad()) return problem("cannot be read");
  if (file.gcount() > kMaxFileBytes) return problem("is larger than 1 MiB");
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.empty()) return problem("is empty");
  return text;
}

absl::StatusOr<std::string> ReadPem(absl::string_view option, const std::string& path) {
  auto text = ReadSmallFile(option, path);
  if (text.ok() && !absl::StrContains(*text, "-----BEGIN ")) {
    return absl::InvalidArgumentError(absl::StrCat(option, " ", path, ": is not a PEM file"));
  }
  return text;
}

absl::StatusOr<grpc::SslCredentialsOptions> ReadTls(const AccessArguments& access) {
  grpc::SslCredentialsOptions tls;
  if (access.tls_certificate.empty() != access.tls_key.empty()) {
    return absl::InvalidArgumentError("--tls-certificate and --tls-key belong together");
  }
  for (const auto& [option, path, target] :
       {std::tuple{"--tls-ca", &access.tls_ca, &tls.pem_root_certs},
        std::tuple{"--tls-certificate", &access.tls_certificate, &tls.pem_cert_chain},
        std::tuple{"--tls-key", &access.tls_key, &tls.pem_private_key}}) {
    if (path->empty()) continue;
    auto text = ReadPem(option, *path);
    if (!text.ok()) return text.status();
    *target = *std::move(text);
  }
  return tls;
}

bool WantsTls(const AccessArguments& access) {
  return access.tls || !access.tls_ca.empty() || !access.tls_certificate.empty() ||
         !access.tls_key.empty();
}

absl::StatusOr<std::string> CheckedKey(absl::string_view source, absl::string_view text) {
  std::string key(absl::StripAsciiWhitespace(text));
  if (absl::Status status = client::CheckApiKey(key); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(source, ": ", status.message()));
  }
  return key;
}

// The file is what this call asked for, so it wins over the environment.
absl::StatusOr<std::string> ReadKey(const AccessArguments& access) {
  if (!access.api_key_file.empty()) return ReadApiKeyFile("--api-key-file", access.api_key_file);
  if (absl::StripAsciiWhitespace(access.api_key).empty()) return std::string();
  return CheckedKey("LONGWAVE_API_KEY", access.api_key);
}

}  // namespace

void AddAccess(OptionParser& parser, AccessArguments* access) {
  parser.AddFlag("tls", "speak TLS; trust the system's root certificates", &access->tls);
  parser.AddText("tls-ca", "FILE", "speak TLS; trust the roots in FILE (PEM) only",
                 &access->tls_ca);
  parser.AddText("tls-certificate", "FILE", "this client's certificate (PEM), for mutual TLS",
                 &access->tls_certificate);
  parser.AddText("tls-key", "FILE", "its private key (PEM)", &access->tls_key);
  parser.AddText("tls-server-name", "NAME",
                 "name to expect in the server's certificate\n[the host of --server]",
                 &access->tls_server_name);
  parser.AddText("api-key-file", "FILE",
                 "file whose first line is the API key\n[environment: LONGWAVE_API_KEY]",
                 &access->api_key_file);
  parser.AddFlag("plaintext-key", "send the API key over a network without TLS",
                 &access->plaintext_key);
}

absl::StatusOr<std::string> ReadApiKeyFile(absl::string_view option, const std::string& path) {
  const auto text = ReadSmallFile(option, path);
  if (!text.ok()) return text.status();
  return CheckedKey(option, text->substr(0, text->find('\n')));
}

absl::StatusOr<client::ClientOptions> ReadAccess(const std::string& server,
                                                 const AccessArguments& access) {
  client::ClientOptions options;
  options.target = server;
  auto key = ReadKey(access);
  if (!key.ok()) return key.status();
  options.api_key = *std::move(key);
  if (WantsTls(access)) {
    const auto tls = ReadTls(access);
    if (!tls.ok()) return tls.status();
    options.credentials = grpc::SslCredentials(*tls);
    options.tls_server_name = access.tls_server_name;
  } else if (!access.tls_server_name.empty()) {
    return absl::InvalidArgumentError("--tls-server-name needs --tls or --tls-ca");
  } else if (access.plaintext_key) {
    options.credentials = grpc::InsecureChannelCredentials();
  } else if (!options.api_key.empty() && !client::IsLoopbackTarget(server)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--server ", server,
        ": the API key would cross a network in plaintext; give --tls or --tls-ca, or say "
        "--plaintext-key"));
  }
  return options;
}

absl::StatusOr<std::unique_ptr<client::Client>> Connect(const std::string& server,
                                                        const AccessArguments& access) {
  auto options = ReadAccess(server, access);
  if (!options.ok()) return options.status();
  auto client = client::Client::Create(*std::move(options));
  if (!client.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--server ", server, ": ", client.status().message()));
  }
  return client;
}

}  // namespace longwave::cli
