#include "client/error_info.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace longwave::client {
namespace {

constexpr char kDomain[] = "longwave";

template <typename Message>
std::string TypeUrl() {
  return absl::StrCat("type.googleapis.com/", Message::descriptor()->full_name());
}

template <typename Message>
void AttachPayload(const Message& message, absl::Status& status) {
  // By view: Clang and GCC do not agree on the symbol of Cord's constructor from a string.
  const std::string bytes = message.SerializeAsString();
  status.SetPayload(TypeUrl<Message>(), absl::Cord(absl::string_view(bytes)));
}

template <typename Message>
std::optional<Message> FindPayload(const absl::Status& status) {
  const auto payload = status.GetPayload(TypeUrl<Message>());
  Message message;
  if (!payload.has_value() || !message.ParseFromString(std::string(*payload))) return std::nullopt;
  return message;
}

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

// gRPC's codes are absl's; a peer may send any number.
absl::StatusCode ToCode(int code) {
  return code > 0 && code <= static_cast<int>(absl::StatusCode::kUnauthenticated)
             ? static_cast<absl::StatusCode>(code)
             : absl::StatusCode::kUnknown;
}

}  // namespace

ErrorInfo GetErrorInfo(const absl::Status& status) {
  ErrorInfo info;
  if (const auto details = FindPayload<google::rpc::ErrorInfo>(status); details.has_value()) {
    info.reason = details->reason();
    const auto& metadata = details->metadata();
    const auto find = [&metadata](const char* key) {
      const auto it = metadata.find(key);
      return it == metadata.end() ? std::string() : it->second;
    };
    info.field = find("field");
    info.value = find("value");
    info.limit = find("limit");
  }
  if (const auto bad = FindPayload<google::rpc::BadRequest>(status);
      info.field.empty() && bad.has_value() && bad->field_violations_size() > 0) {
    info.field = bad->field_violations(0).field();
  }
  if (const auto retry = FindPayload<google::rpc::RetryInfo>(status); retry.has_value()) {
    info.retry_after = FromProto(retry->retry_delay());
  }
  return info;
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status result(ToCode(status.error_code()), status.error_message());
  google::rpc::Status details;
  if (details.ParseFromString(status.error_details())) {
    for (const google::protobuf::Any& detail : details.details()) {
      result.SetPayload(detail.type_url(), absl::Cord(detail.value()));
    }
  }
  return result;
}

absl::Status FromStreamFailed(const v1::StreamFailed& failed) {
  ErrorInfo info{.reason = failed.reason(),
                 .field = failed.field(),
                 .value = failed.value(),
                 .limit = failed.limit()};
  if (failed.has_retry_after()) info.retry_after = FromProto(failed.retry_after());
  return MakeError(ToCode(failed.code()), info, failed.message());
}

absl::Status MakeError(absl::StatusCode code, const ErrorInfo& info, absl::string_view message) {
  absl::Status status(code, message);
  google::rpc::ErrorInfo details;
  details.set_reason(info.reason);
  details.set_domain(kDomain);
  const auto put = [&details](const char* key, const std::string& text) {
    if (!text.empty()) (*details.mutable_metadata())[key] = text;
  };
  put("field", info.field);
  put("value", info.value);
  put("limit", info.limit);
  AttachPayload(details, status);
  if (info.retry_after.has_value()) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(*info.retry_after));
    retry.mutable_retry_delay()->set_nanos(
        static_cast<int32_t>(absl::ToInt64Nanoseconds(*info.retry_after % absl::Seconds(1))));
    AttachPayload(retry, status);
  }
  return status;
}

}  // namespace longwave::client
