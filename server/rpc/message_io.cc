#include "server/rpc/message_io.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"

namespace longwave {

absl::Status ParseMessage(grpc::ByteBuffer* bytes, google::protobuf::MessageLite* message) {
  const size_t length = bytes->Length();
  bool parsed = false;
  {
    // The reader points into the buffer, so it goes first.
    grpc::ProtoBufferReader reader(bytes);
    parsed = reader.status().ok() && message->ParseFromZeroCopyStream(&reader);
  }
  bytes->Clear();
  if (parsed) return absl::OkStatus();
  return MakeError(ErrorReason::kMalformedMessage,
                   absl::StrCat("the ", length, " bytes received are not a ",
                                message->GetTypeName(), " message"));
}

grpc::Slice SerializeMessage(const google::protobuf::MessageLite& message) {
  const size_t size = message.ByteSizeLong();
  grpc::Slice slice(size);
  message.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(slice.begin()));
  return slice;
}

}  // namespace longwave
