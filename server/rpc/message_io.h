#ifndef LONGWAVE_SERVER_RPC_MESSAGE_IO_H_
#define LONGWAVE_SERVER_RPC_MESSAGE_IO_H_

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include "absl/status/status.h"

// Messages <-> the bytes that gRPC carries. Methods are registered raw, so that bytes which are no
// message get our own error, and the buffers can be let go as soon as they are read.
namespace longwave {

// Parses `bytes` and lets them go. MALFORMED_MESSAGE if they are not such a message (invalid UTF-8
// in a string and nesting deeper than protobuf's limit included).
absl::Status ParseMessage(grpc::ByteBuffer* bytes, google::protobuf::MessageLite* message);

// gRPC owns the request for as long as the call lives and declares it const to handlers, though the
// object is not. Letting go of the bytes once they are parsed halves what a waiting call holds.
inline grpc::ByteBuffer* Releasable(const grpc::ByteBuffer* request) {
  return const_cast<grpc::ByteBuffer*>(request);
}

// Precondition: the message is smaller than 2 GiB.
grpc::Slice SerializeMessage(const google::protobuf::MessageLite& message);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_MESSAGE_IO_H_
