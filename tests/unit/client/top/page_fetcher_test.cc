#include "client/top/page_fetcher.h"

#include <gtest/gtest.h>

namespace longwave::top {
namespace {

TEST(PageFetcherTest, TakesWebAddressesOnly) {
  EXPECT_TRUE(PageFetcher::Create("http://127.0.0.1:1/metrics", absl::Seconds(1)).ok());
  EXPECT_TRUE(PageFetcher::Create("https://[::1]:9090/metrics", absl::Seconds(1)).ok());
  for (const char* url : {"", "127.0.0.1:9090", "file:///etc/hostname", "ftp://x/", "http://"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(PageFetcher::Create(url, absl::Seconds(1)).status()))
        << url;
  }
}

TEST(PageFetcherTest, SaysThatNobodyAnswers) {
  const auto fetcher = PageFetcher::Create("http://127.0.0.1:1/metrics", absl::Seconds(5));
  ASSERT_TRUE(fetcher.ok());
  const auto page = (*fetcher)->Fetch();
  EXPECT_TRUE(absl::IsUnavailable(page.status()));
  EXPECT_NE(page.status().message().find("127.0.0.1"), std::string::npos) << page.status();
}

}  // namespace
}  // namespace longwave::top
