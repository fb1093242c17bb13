#ifndef LONGWAVE_SERVER_SECURITY_SHA256_H_
#define LONGWAVE_SERVER_SECURITY_SHA256_H_

#include <array>

#include "absl/strings/string_view.h"

namespace longwave {

using Sha256Digest = std::array<unsigned char, 32>;

Sha256Digest Sha256Of(absl::string_view text);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SECURITY_SHA256_H_
