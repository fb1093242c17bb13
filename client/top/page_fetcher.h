#ifndef LONGWAVE_CLIENT_TOP_PAGE_FETCHER_H_
#define LONGWAVE_CLIENT_TOP_PAGE_FETCHER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace longwave::top {

// Gets one page again and again over one connection, by HTTP or HTTPS, from the server itself:
// proxies of the environment are left alone, redirects are not followed. Not thread-safe.
class PageFetcher {
 public:
  // INVALID_ARGUMENT: not an http or https URL.
  static absl::StatusOr<std::unique_ptr<PageFetcher>> Create(const std::string& url,
                                                             absl::Duration timeout);
  ~PageFetcher();
  PageFetcher(const PageFetcher&) = delete;
  PageFetcher& operator=(const PageFetcher&) = delete;

  // UNAVAILABLE with a text for people: no answer, not 200, or more than 16 MiB. CANCELLED:
  // `give_up` (may be empty), which is asked at least once a second, was true.
  absl::StatusOr<std::string> Fetch(const std::function<bool()>& give_up = {});

 private:
  explicit PageFetcher(void* handle) : handle_(handle) {}

  void* const handle_;  // CURL
};

}  // namespace longwave::top

#endif  // LONGWAVE_CLIENT_TOP_PAGE_FETCHER_H_
