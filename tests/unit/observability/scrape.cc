#include "tests/unit/observability/scrape.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace longwave {
namespace {

std::string HttpGet(int port, const std::string& path) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<struct sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request = "GET " + path + " HTTP/1.1\r\nHost: test\r\n\r\n";
    EXPECT_EQ(send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    char buffer[16384];
    ssize_t count = 0;
    while ((count = recv(fd, buffer, sizeof(buffer), 0)) > 0) answer.append(buffer, count);
  }
  close(fd);
  return answer;
}

void ParseLine(absl::string_view line, Scrape& scrape) {
  const bool is_help = absl::ConsumePrefix(&line, "# HELP ");
  if (is_help || absl::ConsumePrefix(&line, "# TYPE ")) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    (is_help ? scrape.help : scrape.type)[parts.first] = parts.second;
    return;
  }
  const size_t space = line.rfind(' ');
  double value = 0;
  if (space == absl::string_view::npos || !absl::SimpleAtod(line.substr(space + 1), &value)) {
    scrape.malformed = std::string(line);
    return;
  }
  const bool fresh = scrape.series.emplace(line.substr(0, space), value).second;
  if (!fresh) scrape.malformed = "twice: " + std::string(line);
}

}  // namespace

double Scrape::Value(const std::string& name) const {
  const auto found = series.find(name);
  if (found != series.end()) return found->second;
  ADD_FAILURE() << "no series " << name;
  return std::numeric_limits<double>::quiet_NaN();
}

Scrape ScrapeMetrics(int port) {
  Scrape scrape;
  const std::string answer = HttpGet(port, "/metrics");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
  const size_t body = answer.find("\r\n\r\n");
  if (body == std::string::npos) return scrape;
  scrape.text = answer.substr(body + 4);
  for (absl::string_view line : absl::StrSplit(scrape.text, '\n', absl::SkipEmpty())) {
    ParseLine(line, scrape);
  }
  return scrape;
}

std::string MetricOf(const Scrape& scrape, absl::string_view series) {
  const std::string name(series.substr(0, series.find('{')));
  for (const absl::string_view suffix : {"_bucket", "_sum", "_count"}) {
    absl::string_view base = name;
    if (!absl::ConsumeSuffix(&base, suffix)) continue;
    const auto type = scrape.type.find(std::string(base));
    if (type != scrape.type.end() && (type->second == "histogram" || type->second == "summary")) {
      return std::string(base);
    }
  }
  return name;
}

}  // namespace longwave
