#include "server/rpc/proto_convert.h"

namespace longwave {

google::protobuf::Duration ToProtoDuration(Nanoseconds duration) {
  constexpr int64_t kPerSecond = 1'000'000'000;
  google::protobuf::Duration proto;
  proto.set_seconds(duration.count() / kPerSecond);
  proto.set_nanos(static_cast<int32_t>(duration.count() % kPerSecond));
  return proto;
}

v1::StageTimings ToProtoTimings(const StageTimes& stages) {
  v1::StageTimings timings;
  *timings.mutable_receive() = ToProtoDuration(stages.receive);
  *timings.mutable_validate() = ToProtoDuration(stages.validate);
  *timings.mutable_queue() = ToProtoDuration(stages.queue);
  *timings.mutable_compute() = ToProtoDuration(stages.compute);
  *timings.mutable_serialise() = ToProtoDuration(stages.serialise);
  *timings.mutable_other() = ToProtoDuration(stages.other);
  *timings.mutable_total() = ToProtoDuration(stages.total);
  return timings;
}

v1::Route ToProtoRoute(Route route) {
  static_assert(static_cast<int>(Route::kDirect) == v1::ROUTE_DIRECT);
  static_assert(static_cast<int>(Route::kTiles) == v1::ROUTE_TILES);
  static_assert(static_cast<int>(Route::kChunkwise) == v1::ROUTE_CHUNKWISE);
  static_assert(static_cast<int>(Route::kFft) == v1::ROUTE_FFT);
  static_assert(static_cast<int>(Route::kInterpolation) == v1::ROUTE_INTERPOLATION);
  return static_cast<v1::Route>(route);
}

v1::Pooling ToProtoPooling(Pooling pooling) {
  switch (pooling) {
    case Pooling::kMean:
      return v1::POOLING_MEAN;
    case Pooling::kFirst:
      return v1::POOLING_CLS;
    case Pooling::kLast:
      return v1::POOLING_LAST;
    case Pooling::kMax:
      return v1::POOLING_MAX;
    case Pooling::kRows:
      return v1::POOLING_NONE;
    case Pooling::kSpans:
      return v1::POOLING_SPANS;
  }
  return v1::POOLING_UNSPECIFIED;
}

v1::DataType ToProtoDataType(OutputType type) {
  switch (type) {
    case OutputType::kFp32:
      return v1::DATA_TYPE_FP32;
    case OutputType::kFp16:
      return v1::DATA_TYPE_FP16;
    case OutputType::kBf16:
      return v1::DATA_TYPE_BF16;
    case OutputType::kInt8:
      return v1::DATA_TYPE_INT8;
    case OutputType::kBinary:
      return v1::DATA_TYPE_BINARY;
  }
  return v1::DATA_TYPE_UNSPECIFIED;
}

}  // namespace longwave
