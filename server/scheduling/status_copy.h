#ifndef LONGWAVE_SERVER_SCHEDULING_STATUS_COPY_H_
#define LONGWAVE_SERVER_SCHEDULING_STATUS_COPY_H_

#include "absl/status/status.h"

namespace longwave {

// A status of its own with the same code, message and payloads. Copies made by absl::Status share
// one counted object; these may go to different threads each by moves alone, which
// ThreadSanitizer can follow without an instrumented Abseil.
absl::Status CopyStatus(const absl::Status& status);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SCHEDULING_STATUS_COPY_H_
