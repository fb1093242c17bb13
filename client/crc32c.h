#ifndef LONGWAVE_CLIENT_CRC32C_H_
#define LONGWAVE_CLIENT_CRC32C_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace longwave::client {

// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), as RFC 3720 has it.
uint32_t Crc32c(absl::string_view bytes);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CRC32C_H_
