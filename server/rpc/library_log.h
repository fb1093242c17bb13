#ifndef LONGWAVE_SERVER_RPC_LIBRARY_LOG_H_
#define LONGWAVE_SERVER_RPC_LIBRARY_LOG_H_

#include <cstdint>

#include "server/observability/log.h"

namespace longwave {

// While it lives, what gRPC and protobuf have to say goes to our log (events "grpc" and "protobuf")
// instead of to stderr in forms of their own. Both have one log for the process, so there is at
// most one of these at a time.
class LibraryLogRedirect {
 public:
  // `log` outlives the redirection.
  explicit LibraryLogRedirect(Logger* log);
  ~LibraryLogRedirect();
  LibraryLogRedirect(const LibraryLogRedirect&) = delete;
  LibraryLogRedirect& operator=(const LibraryLogRedirect&) = delete;

  // TLS handshakes that failed since the start of the process. gRPC tells of them by its log alone,
  // so they are counted there.
  static int64_t handshake_failures();
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_LIBRARY_LOG_H_
