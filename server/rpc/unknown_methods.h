#ifndef LONGWAVE_SERVER_RPC_UNKNOWN_METHODS_H_
#define LONGWAVE_SERVER_RPC_UNKNOWN_METHODS_H_

#include <grpcpp/generic/async_generic_service.h>

#include "server/rpc/connection_guard.h"

namespace longwave {

// Answers calls of methods that no service has with UNIMPLEMENTED and the method's name. gRPC would
// answer them by itself, but out of the guard's sight: a connection that opens and resets them
// without end would not be cut.
class UnknownMethods final : public grpc::CallbackGenericService {
 public:
  // `guard` outlives the calls.
  explicit UnknownMethods(ConnectionGuard* guard) : guard_(guard) {}

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override;

 private:
  ConnectionGuard* const guard_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_UNKNOWN_METHODS_H_
