#ifndef LONGWAVE_CLIENT_CLI_READ_ERROR_H_
#define LONGWAVE_CLIENT_CLI_READ_ERROR_H_

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace longwave::cli {

// An input that could not be opened or read to its end, as opposed to one whose content is bad: it
// may be read another time (MayPass).
inline absl::Status CannotRead(absl::string_view input, absl::string_view why) {
  return absl::NotFoundError(absl::StrCat("cannot read ", input, ": ", why));
}

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_READ_ERROR_H_
