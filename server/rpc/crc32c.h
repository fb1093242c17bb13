#ifndef LONGWAVE_SERVER_RPC_CRC32C_H_
#define LONGWAVE_SERVER_RPC_CRC32C_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace longwave {

// CRC-32C (Castagnoli) of `data`, as iSCSI and storage systems use it: Crc32c("123456789") is
// 0xe3069283. Uses the processor's instruction where there is one.
uint32_t Crc32c(absl::string_view data);

// The same from a table, for every processor; the test's twin of the fast one.
uint32_t Crc32cPortable(absl::string_view data);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_CRC32C_H_
