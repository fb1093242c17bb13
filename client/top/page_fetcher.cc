#include "client/top/page_fetcher.h"

#include <curl/curl.h>

#include "absl/strings/str_cat.h"
#include "client/version.h"

namespace longwave::top {
namespace {

// A server's page has some hundred KiB.
constexpr size_t kMaxPageBytes = 16 << 20;

// Takes what comes; anything but `count` ends the transfer.
size_t TakeBytes(const char* bytes, size_t, size_t count, void* out) {
  auto* const page = static_cast<std::string*>(out);
  if (page->size() + count > kMaxPageBytes) return 0;
  page->append(bytes, count);
  return count;
}

// Anything but 0 ends the transfer.
int AskWhetherToGiveUp(void* give_up, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto& asked = *static_cast<const std::function<bool()>*>(give_up);
  return asked && asked() ? 1 : 0;
}

bool IsWebAddress(const std::string& url) {
  CURLU* const parts = curl_url();
  char* scheme = nullptr;
  const bool good = curl_url_set(parts, CURLUPART_URL, url.c_str(), 0) == CURLUE_OK &&
                    curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                    (std::string(scheme) == "http" || std::string(scheme) == "https");
  curl_free(scheme);
  curl_url_cleanup(parts);
  return good;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PageFetcher>> PageFetcher::Create(const std::string& url,
                                                                 absl::Duration timeout) {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (started != CURLE_OK) return absl::InternalError(curl_easy_strerror(started));
  if (!IsWebAddress(url)) {
    return absl::InvalidArgumentError("is not a URL like http://127.0.0.1:9090/metrics");
  }
  CURL* const handle = curl_easy_init();
  if (handle == nullptr) return absl::InternalError("libcurl gives no handle");
  std::unique_ptr<PageFetcher> fetcher(new PageFetcher(handle));
  curl_easy_setopt(handle, CURLOPT_URL, url.c_str());
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_PROXY, "");
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS,
                   static_cast<long>(absl::ToInt64Milliseconds(timeout)));
  curl_easy_setopt(handle, CURLOPT_USERAGENT, absl::StrCat("longwave/", client::Version()).c_str());
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, TakeBytes);
  curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, AskWhetherToGiveUp);
  curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
  return fetcher;
}

PageFetcher::~PageFetcher() { curl_easy_cleanup(handle_); }

absl::StatusOr<std::string> PageFetcher::Fetch(const std::function<bool()>& give_up) {
  std::string page;
  char problem[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(handle_, CURLOPT_WRITEDATA, &page);
  curl_easy_setopt(handle_, CURLOPT_XFERINFODATA, const_cast<std::function<bool()>*>(&give_up));
  curl_easy_setopt(handle_, CURLOPT_ERRORBUFFER, problem);
  const CURLcode done = curl_easy_perform(handle_);
  curl_easy_setopt(handle_, CURLOPT_ERRORBUFFER, nullptr);
  if (done == CURLE_ABORTED_BY_CALLBACK) return absl::CancelledError("given up");
  if (done == CURLE_WRITE_ERROR) {
    return absl::UnavailableError(
        absl::StrCat("the page is larger than ", kMaxPageBytes, " bytes"));
  }
  if (done != CURLE_OK) {
    return absl::UnavailableError(problem[0] != '\0' ? problem : curl_easy_strerror(done));
  }
  long code = 0;
  curl_easy_getinfo(handle_, CURLINFO_RESPONSE_CODE, &code);
  if (code != 200)
    return absl::UnavailableError(absl::StrCat("the answer is HTTP ", code, ", not 200"));
  return page;
}

}  // namespace longwave::top
