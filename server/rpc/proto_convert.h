#ifndef LONGWAVE_SERVER_RPC_PROTO_CONVERT_H_
#define LONGWAVE_SERVER_RPC_PROTO_CONVERT_H_

#include "google/protobuf/duration.pb.h"
#include "longwave/v1/encode.pb.h"
#include "model/api/encoder.h"
#include "model/base/clock.h"
#include "model/base/request_trace.h"
#include "server/admission/encode_request.h"

// Small values, ours -> the wire's.
namespace longwave {

google::protobuf::Duration ToProtoDuration(Nanoseconds duration);
v1::StageTimings ToProtoTimings(const StageTimes& stages);
v1::Route ToProtoRoute(Route route);
v1::Pooling ToProtoPooling(Pooling pooling);
v1::DataType ToProtoDataType(OutputType type);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_PROTO_CONVERT_H_
