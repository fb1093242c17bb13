#include "client/version.h"

namespace longwave::client {

absl::string_view Version() { return LONGWAVE_VERSION; }

}  // namespace longwave::client
