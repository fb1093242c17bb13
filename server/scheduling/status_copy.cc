#include "server/scheduling/status_copy.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"

namespace longwave {

absl::Status CopyStatus(const absl::Status& status) {
  absl::Status copy(status.code(), status.message());
  status.ForEachPayload([&copy](absl::string_view url, const absl::Cord& payload) {
    const std::string bytes(payload);
    copy.SetPayload(url, absl::Cord(absl::string_view(bytes)));
  });
  return copy;
}

}  // namespace longwave
