#ifndef LONGWAVE_CLIENT_CLI_ACCESS_H_
#define LONGWAVE_CLIENT_CLI_ACCESS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/cli/option_parser.h"
#include "client/client.h"

namespace longwave::cli {

// How the program proves who it is and checks who the server is. Files are read when Connect is
// called.
struct AccessArguments {
  bool tls = false;             // with the system's roots unless tls_ca names others
  std::string tls_ca;           // these three: PEM files; each asks for TLS
  std::string tls_certificate;  // the client's own (mTLS)
  std::string tls_key;
  std::string tls_server_name;  // expected in the server's certificate instead of --server's
  std::string api_key_file;     // first line of a file
  std::string api_key;          // from the environment: a command line is seen by everyone
  bool plaintext_key = false;   // the key may cross a network without TLS
};

// The options that fill it.
void AddAccess(OptionParser& parser, AccessArguments* access);

// The key in a file, as `option` names it.
absl::StatusOr<std::string> ReadApiKeyFile(absl::string_view option, const std::string& path);

// What a client of `server` is told. Errors as those of Connect.
absl::StatusOr<client::ClientOptions> ReadAccess(const std::string& server,
                                                 const AccessArguments& access);

// A client of `server`. INVALID_ARGUMENT: what cannot be right whoever answers, as a text for
// people which names the option. No text has a key in it.
absl::StatusOr<std::unique_ptr<client::Client>> Connect(const std::string& server,
                                                        const AccessArguments& access);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_ACCESS_H_
