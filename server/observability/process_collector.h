#ifndef LONGWAVE_SERVER_OBSERVABILITY_PROCESS_COLLECTOR_H_
#define LONGWAVE_SERVER_OBSERVABILITY_PROCESS_COLLECTOR_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/strings/string_view.h"

namespace prometheus {
class Collectable;
}

namespace longwave {

// The fields of /proc/<pid>/stat that are exported, in its own units.
struct ProcessStat {
  int64_t user_ticks = 0;
  int64_t system_ticks = 0;
  int64_t threads = 0;
  int64_t start_ticks = 0;  // after boot
  int64_t virtual_bytes = 0;
  int64_t resident_pages = 0;
};
// Unset if `text` is not such a file. The program's name in it may hold blanks and parentheses.
std::optional<ProcessStat> ParseProcessStat(absl::string_view text);

// The process_* metrics of this process, read from /proc at each scrape.
std::shared_ptr<prometheus::Collectable> MakeProcessCollector();

}  // namespace longwave

#endif  // LONGWAVE_SERVER_OBSERVABILITY_PROCESS_COLLECTOR_H_
