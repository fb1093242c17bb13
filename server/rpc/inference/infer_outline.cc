#include "server/rpc/inference/infer_outline.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "inference/inference_service.pb.h"
#include "model/base/error.h"
#include "server/admission/field_error.h"

namespace longwave {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using inference::ModelInferRequest;

// Fields with a length of their own (messages, strings, lists), inner ones too. A request with all
// inputs, outputs and parameters has some fifty.
constexpr int kMaxFields = 1000;
// Ids and names that are repeated in answers; the largest that --max_request_id_bytes allows.
constexpr uint32_t kMaxTextBytes = 4096;

class Scanner {
 public:
  Scanner(CodedInputStream* in, InferOutline* outline) : in_(in), outline_(outline) {}

  // False: the bytes are no message, or there is too much of it (`outline`).
  bool Request() {
    return Fields([this](int field, uint32_t length) {
      switch (field) {
        case ModelInferRequest::kIdFieldNumber:
          return Text(length, &outline_->id);
        case ModelInferRequest::kModelNameFieldNumber:
          return Text(length, &outline_->model_name);
        case ModelInferRequest::kInputsFieldNumber:
          return Within(length, [this] { return Input(); });
        case ModelInferRequest::kOutputsFieldNumber:
          return Within(length, [this] { return Leaves(); });
        default:
          return Skip(length);
      }
    });
  }

 private:
  bool Input() {
    return Fields([this](int field, uint32_t length) {
      if (field != ModelInferRequest::InferInputTensor::kContentsFieldNumber) return Skip(length);
      return Within(length, [this] { return Leaves(); });
    });
  }

  bool Leaves() {
    return Fields([this](int /*field*/, uint32_t length) { return Skip(length); });
  }

  // Calls `take` with each field that has a length, which moves behind it.
  template <typename Take>
  bool Fields(Take take) {
    while (const uint32_t tag = in_->ReadTag()) {
      if (WireFormatLite::GetTagWireType(tag) != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
        if (!WireFormatLite::SkipField(in_, tag)) return false;
        continue;
      }
      uint32_t length = 0;
      if (++fields_ > kMaxFields) return TooMany();
      if (!in_->ReadVarint32(&length)) return false;
      if (!take(WireFormatLite::GetTagFieldNumber(tag), length)) return false;
    }
    return in_->ConsumedEntireMessage();
  }

  template <typename Inner>
  bool Within(uint32_t length, Inner inner) {
    const auto limit = in_->PushLimit(static_cast<int>(length));
    if (!inner()) return false;
    in_->PopLimit(limit);
    return true;
  }

  bool Skip(uint32_t length) { return in_->Skip(static_cast<int>(length)); }

  bool Text(uint32_t length, std::string* text) {
    if (length > kMaxTextBytes) return Skip(length);
    if (!in_->ReadString(text, static_cast<int>(length))) return false;
    if (!IsUtf8(*text)) text->clear();  // no answer may repeat it
    return true;
  }

  bool TooMany() {
    outline_->status = FieldError(ErrorReason::kRequestTooLarge, "inputs",
                                  Got(absl::StrCat("over ", kMaxFields, " fields"), kMaxFields),
                                  "the request has too many inputs, outputs or parameters");
    return false;
  }

  CodedInputStream* const in_;
  InferOutline* const outline_;
  int fields_ = 0;
};

}  // namespace

InferOutline ReadInferOutline(grpc::ByteBuffer* bytes) {
  InferOutline outline;
  grpc::ProtoBufferReader reader(bytes);
  if (!reader.status().ok()) return outline;
  CodedInputStream in(&reader);
  Scanner(&in, &outline).Request();
  return outline;
}

}  // namespace longwave
