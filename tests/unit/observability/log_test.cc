#include "server/observability/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_split.h"

namespace longwave {
namespace {

using ::testing::HasSubstr;

// A pipe whose reading end is held by the test.
class Pipe {
 public:
  Pipe() { EXPECT_EQ(pipe2(fds_, O_CLOEXEC), 0); }
  ~Pipe() {
    CloseReader();
    close(fds_[1]);
  }
  int writer() const { return fds_[1]; }
  void CloseReader() {
    if (fds_[0] >= 0) close(fds_[0]);
    fds_[0] = -1;
  }
  // What has been written so far.
  std::string Read() {
    fcntl(fds_[0], F_SETFL, O_NONBLOCK);
    std::string text;
    char buffer[4096];
    ssize_t count = 0;
    while ((count = read(fds_[0], buffer, sizeof(buffer))) > 0) text.append(buffer, count);
    return text;
  }

 private:
  int fds_[2] = {-1, -1};
};

std::chrono::system_clock::time_point FixedTime() {
  return std::chrono::system_clock::time_point(std::chrono::milliseconds(1'769'860'800'007));
}

LogOptions OptionsFor(const Pipe& pipe) { return {.fd = pipe.writer(), .now = FixedTime}; }

TEST(LoggerTest, WritesOneLineOfJsonPerEvent) {
  Pipe pipe;
  Logger logger(OptionsFor(pipe));
  logger.Info("request", {{"method", "Encode"},
                          {"tokens", 17},
                          {"bytes", size_t{18}},
                          {"seconds", 0.25},
                          {"ok", true}});
  EXPECT_EQ(pipe.Read(),
            "{\"ts\":\"2026-01-31T12:00:00.007Z\",\"level\":\"info\",\"event\":\"request\","
            "\"method\":\"Encode\",\"tokens\":17,\"bytes\":18,\"seconds\":0.25,\"ok\":true}\n");
}

TEST(LoggerTest, TimesBeforeTheEpochKeepTheirMilliseconds) {
  Pipe pipe;
  LogOptions options = OptionsFor(pipe);
  options.now = [] { return std::chrono::system_clock::time_point(std::chrono::milliseconds(-1)); };
  Logger(options).Info("x");
  EXPECT_THAT(pipe.Read(), HasSubstr("\"1969-12-31T23:59:59.999Z\""));
}

TEST(LoggerTest, LevelsBelowTheChosenOneAreSilent) {
  Pipe pipe;
  LogOptions options = OptionsFor(pipe);
  options.level = LogLevel::kWarning;
  Logger logger(options);
  logger.Log(LogLevel::kDebug, "a");
  logger.Info("b");
  EXPECT_EQ(pipe.Read(), "");
  logger.Warning("c");
  logger.Error("d");
  const std::string text = pipe.Read();
  EXPECT_THAT(text, HasSubstr("\"level\":\"warning\",\"event\":\"c\""));
  EXPECT_THAT(text, HasSubstr("\"level\":\"error\",\"event\":\"d\""));
  EXPECT_EQ(logger.dropped(), 0);
}

TEST(LoggerTest, LevelNamesAreReadBack) {
  for (const LogLevel level :
       {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError}) {
    EXPECT_EQ(ParseLogLevel(LogLevelName(level)).value(), level);
  }
  EXPECT_EQ(ParseLogLevel("loud").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(LoggerTest, HostileTextStaysInItsFieldOnOneLine) {
  Pipe pipe;
  Logger logger(OptionsFor(pipe));
  const std::vector<std::string> hostile = {
      "a\r\nb",
      "\x1b[31mred",
      "\",\"level\":\"error\",\"x\":\"",
      std::string("a\0b", 3),
      "\u202e\u2066abc",
      "\u2028\u0085",
      "\xff\xfe\xc0\x80",
      std::string(1 << 20, 'A'),
      "}\n{\"event\":\"forged\"}",
  };
  for (const std::string& text : hostile) {
    logger.Info("hostile", {{"name", text}});
    const std::string line = pipe.Read();
    ASSERT_LE(line.size(), 1024);
    ASSERT_EQ(line.find('\n'), line.size() - 1);
    for (const char c : line.substr(0, line.size() - 1)) {
      ASSERT_GE(static_cast<unsigned char>(c), 0x20);
    }
    const auto parsed = nlohmann::json::parse(line);
    EXPECT_EQ(parsed.size(), 4);
    EXPECT_EQ(parsed["event"], "hostile");
    EXPECT_LE(parsed["name"].get<std::string>().size(), 128);
  }
}

TEST(LoggerTest, NumbersThatJsonLacksAreStrings) {
  Pipe pipe;
  Logger logger(OptionsFor(pipe));
  logger.Info("x", {{"a", std::numeric_limits<double>::quiet_NaN()},
                    {"b", -std::numeric_limits<double>::infinity()}});
  const auto parsed = nlohmann::json::parse(pipe.Read());
  EXPECT_EQ(parsed["a"], "nan");
  EXPECT_EQ(parsed["b"], "-inf");
}

TEST(LoggerTest, LineNeverExceedsWhatAPipeTakesAtOnce) {
  Pipe pipe;
  Logger logger(OptionsFor(pipe));
  const std::string wide(128, '\x01');  // six bytes each once escaped
  logger.Info(
      "wide",
      {{"a", wide}, {"b", wide}, {"c", wide}, {"d", wide}, {"e", wide}, {"f", wide}, {"g", wide}});
  const std::string line = pipe.Read();
  EXPECT_LE(line.size(), 4096);
  const auto parsed = nlohmann::json::parse(line);
  EXPECT_EQ(parsed["a"], wide);
  EXPECT_EQ(parsed["cut"], true);
  EXPECT_FALSE(parsed.contains("g"));
}

TEST(LoggerTest, ReaderThatLeftIsCountedAndSurvived) {
  Pipe pipe;
  Logger logger(OptionsFor(pipe));
  pipe.CloseReader();
  for (int i = 0; i < 3; ++i) logger.Info("lost");
  EXPECT_EQ(logger.dropped(), 3);
}

TEST(LoggerTest, FullDiskIsCountedAndSurvived) {
  const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  ASSERT_GE(full, 0);
  Logger logger(LogOptions{.fd = full, .now = FixedTime});
  logger.Info("lost");
  EXPECT_EQ(logger.dropped(), 1);
  close(full);
}

TEST(LoggerTest, ClosedDescriptorIsCountedAndSurvived) {
  Logger logger(LogOptions{.fd = -1, .now = FixedTime});
  logger.Info("lost");
  EXPECT_EQ(logger.dropped(), 1);
}

TEST(LoggerTest, ReaderThatDoesNotReadNeverBlocksTheCaller) {
  Pipe pipe;
  Logger logger(OptionsFor(pipe));
  const std::string text(128, 'x');
  // A pipe holds 64 KiB: far less than this. Without the check the test would hang.
  for (int i = 0; i < 2000; ++i) logger.Info("flood", {{"text", text}});
  EXPECT_GT(logger.dropped(), 0);
  const std::string written = pipe.Read();
  for (absl::string_view line : absl::StrSplit(written, '\n', absl::SkipEmpty())) {
    ASSERT_TRUE(nlohmann::json::accept(line.begin(), line.end())) << line;
  }
  logger.Info("again");
  EXPECT_THAT(pipe.Read(), HasSubstr("\"again\""));
}

TEST(LoggerTest, LinesOfSeveralThreadsDoNotMix) {
  Pipe pipe;
  Logger logger(OptionsFor(pipe));
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&logger, t] {
      for (int i = 0; i < 50; ++i) logger.Info("line", {{"thread", t}, {"i", i}});
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string text = pipe.Read();
  int lines = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    ASSERT_TRUE(nlohmann::json::accept(line.begin(), line.end())) << line;
    ++lines;
  }
  EXPECT_EQ(lines + logger.dropped(), 200);
}

}  // namespace
}  // namespace longwave
