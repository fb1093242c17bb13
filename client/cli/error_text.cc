#include "client/cli/error_text.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/error_info.h"

namespace longwave::cli {

std::string DescribeError(const absl::Status& status, const std::string& server) {
  const client::ErrorInfo info = client::GetErrorInfo(status);
  if (absl::IsUnavailable(status) && info.reason.empty()) {
    return absl::StrCat("no Longwave server answers at ", server, " (", status.message(),
                        "); start longwave-server there, or name another with --server");
  }
  std::string text = absl::StatusCodeToString(status.code());
  if (!info.reason.empty()) absl::StrAppend(&text, " ", info.reason);
  absl::StrAppend(&text, ": ", status.message());
  // The server's own texts name field, value and limit already.
  if (!info.field.empty() && !absl::StrContains(status.message(), info.field)) {
    absl::StrAppend(&text, "; ", info.field);
    if (!info.value.empty()) absl::StrAppend(&text, " = ", info.value);
    if (!info.limit.empty()) absl::StrAppend(&text, ", limit ", info.limit);
  }
  if (info.retry_after.has_value()) {
    absl::StrAppend(&text, "; try again in ", absl::FormatDuration(*info.retry_after));
  }
  return text;
}

}  // namespace longwave::cli
