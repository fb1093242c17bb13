#ifndef LONGWAVE_CLIENT_VERSION_H_
#define LONGWAVE_CLIENT_VERSION_H_

#include "absl/strings/string_view.h"

namespace longwave::client {

// The library's version: "0.1.0".
absl::string_view Version();

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_VERSION_H_
