#include "client/top/page_fetcher.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

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

// It takes the call and never answers: whoever gives up does not wait for the time to pass.
TEST(PageFetcherTest, IsGivenUpWhileTheServerHangs) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(bind(listener, generic, length), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  ASSERT_EQ(getsockname(listener, generic, &length), 0);
  const std::string url = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/";
  const auto fetcher = PageFetcher::Create(url, absl::Hours(1));
  ASSERT_TRUE(fetcher.ok());
  int asked = 0;
  const auto page = (*fetcher)->Fetch([&asked] { return ++asked > 1; });
  close(listener);
  EXPECT_TRUE(absl::IsCancelled(page.status())) << page.status();
  EXPECT_EQ(asked, 2);
}

}  // namespace
}  // namespace longwave::top
