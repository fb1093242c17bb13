#ifndef LONGWAVE_SERVER_RPC_CALLER_H_
#define LONGWAVE_SERVER_RPC_CALLER_H_

#include <grpcpp/server_context.h>

#include <memory>

#include "absl/status/statusor.h"
#include "server/admission/tenant.h"
#include "server/security/authenticator.h"

namespace longwave {

// Who makes a call, from its metadata. Null: the server asks for no keys, so nobody says. Asked
// again for each request of a stream: a key that was withdrawn begins nothing more.
absl::StatusOr<std::shared_ptr<const Tenant>> IdentifyCaller(
    const Authenticator* authenticator, const grpc::ServerContextBase& context);

// Whether a request's own `tenant` field agrees with who sent it. Where nobody says who calls
// (`tenant` is null), the field is a remark without consequences.
absl::Status CheckTenantField(const Authenticator* authenticator, const Tenant* tenant,
                              absl::string_view field);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_CALLER_H_
