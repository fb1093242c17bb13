#ifndef LONGWAVE_SERVER_RPC_CREDENTIALS_H_
#define LONGWAVE_SERVER_RPC_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "server/security/tls_store.h"

namespace longwave {

// What a port speaks: TLS 1.2 or later, with ALPN h2, by the certificates that `tls` holds when a
// connection begins; with a client CA, to clients whose certificates lead to it and to nobody else.
// Null: plaintext. `tls` outlives the server.
std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const TlsStore* tls);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_CREDENTIALS_H_
