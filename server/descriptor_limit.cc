#include "server/descriptor_limit.h"

#include <sys/resource.h>

#include <algorithm>
#include <limits>

namespace longwave {
namespace {

int64_t Count(rlim_t limit) {
  constexpr auto kMost = static_cast<rlim_t>(std::numeric_limits<int64_t>::max());
  return static_cast<int64_t>(std::min(limit, kMost));  // RLIM_INFINITY is the largest rlim_t
}

}  // namespace

DescriptorLimit RaiseDescriptorLimit() {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return {};
  DescriptorLimit result{.before = Count(limit.rlim_cur), .now = Count(limit.rlim_cur)};
  if (limit.rlim_cur == limit.rlim_max) return result;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) == 0) result.now = Count(limit.rlim_cur);
  return result;
}

}  // namespace longwave
