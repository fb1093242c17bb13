#include "client/cli/top_command.h"

#include <poll.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/cli/option_values.h"
#include "client/cli/printable.h"
#include "client/cli/terminal.h"
#include "client/top/top_text.h"

namespace longwave::cli {
namespace {

constexpr int kLinesBetweenHeaders = 20;
constexpr absl::Duration kPatience = absl::Seconds(5);

double NowSeconds() { return absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch()); }

OptionParser TopParser(TopArguments* arguments) {
  OptionParser parser;
  parser.AddText("metrics", "URL",
                 absl::StrCat("of the server's metrics page\n[", kDefaultMetrics, "]"),
                 &arguments->metrics);
  parser.Add("interval", "SECONDS", "between two looks [2]",
             Into(&arguments->interval, ParseSeconds));
  parser.AddNumber("count", "end after N intervals [never]", 1, kMaxUint32,
                   [arguments](int64_t n) { arguments->count = n; });
  parser.AddFlag("once", "one look: what was since the server's start", &arguments->once);
  parser.AddFlag("json", "one JSON object for each look, one line each", &arguments->json);
  return parser;
}

}  // namespace

absl::StatusOr<TopArguments> ParseTop(absl::Span<const std::string> arguments) {
  TopArguments parsed;
  auto others = TopParser(&parsed).Parse(arguments);
  if (!others.ok()) return others.status();
  if (!others->empty()) {
    return absl::InvalidArgumentError("unexpected argument " + others->front());
  }
  if (parsed.once && parsed.count > 0) {
    return absl::InvalidArgumentError("--once and --count exclude each other");
  }
  return parsed;
}

std::vector<OptionInfo> TopOptionInfos() {
  TopArguments arguments;
  return TopParser(&arguments).Describe();
}

ExitCode TopCommand::Run() {
  auto fetcher = top::PageFetcher::Create(arguments_.metrics, kPatience);
  if (!fetcher.ok()) {
    err_ << "longwave: --metrics " << arguments_.metrics << ": " << fetcher.status().message()
         << "\n";
    return kExitUsage;
  }
  fetcher_ = *std::move(fetcher);
  auto first = Look();
  if (!first.ok()) {
    err_ << "longwave: " << arguments_.metrics << ": " << first.status().message() << "\n";
    return kExitUnavailable;
  }
  if (arguments_.once) return ShowOnce(*first);
  last_ = *std::move(first);
  const bool live = !arguments_.json && out_.rdbuf() == std::cout.rdbuf() && Terminal::Available();
  return live ? ShowLive() : ShowLines();
}

absl::StatusOr<top::MetricPage> TopCommand::Look(const std::function<bool()>& give_up) {
  last_time_ = Clock::now();
  auto text = fetcher_->Fetch(give_up);
  if (!text.ok()) return text.status();
  auto page = top::MetricPage::Parse(*text);
  if (page.ok() && !top::IsLongwave(*page)) {
    return absl::UnavailableError("the page has no metrics of a Longwave server");
  }
  return page;
}

absl::StatusOr<top::TopReport> TopCommand::LookAgain(const std::function<bool()>& give_up) {
  const Clock::time_point before = last_time_;
  auto page = Look(give_up);
  if (!page.ok()) {
    last_time_ = before;
    return page.status();
  }
  const double seconds = std::chrono::duration<double>(last_time_ - before).count();
  // No two looks are at one moment, whatever the clock's steps are.
  top::TopReport report = top::MakeReport(&*last_, *page, std::max(seconds, 1e-3));
  last_ = *std::move(page);
  return report;
}

ExitCode TopCommand::ShowOnce(const top::MetricPage& page) {
  const double now = NowSeconds();
  const double start = top::MakeReport(nullptr, page, 1).start_time.value_or(now);
  const top::TopReport report = top::MakeReport(nullptr, page, std::max(now - start, 1e-3));
  if (arguments_.json) {
    out_ << top::JsonLine(report);
  } else {
    for (const std::string& line : top::ScreenLines(report, arguments_.metrics, now)) {
      out_ << Printable(line) << "\n";
    }
  }
  out_.flush();
  return out_.good() ? kExitOk : kExitFailed;
}

std::chrono::steady_clock::time_point NextTick(std::chrono::steady_clock::time_point last,
                                               std::chrono::steady_clock::time_point now,
                                               std::chrono::nanoseconds interval) {
  const auto missed = now < last + interval ? 0 : (now - last) / interval;
  return last + (missed + 1) * interval;
}

ExitCode TopCommand::ShowLines() {
  Clock::time_point next = Clock::now();
  int64_t lines = 0;
  for (int64_t shown = 0; !Ended(shown); ++shown) {
    next = NextTick(next, Clock::now(), absl::ToChronoNanoseconds(arguments_.interval));
    for (auto now = Clock::now(); now < next; now = Clock::now()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - now).count();
      poll(nullptr, 0, static_cast<int>(std::min<int64_t>(left, 60'000)));
    }
    const auto report = LookAgain();
    if (!report.ok()) {
      err_ << "longwave: " << arguments_.metrics << ": " << report.status().message() << "\n";
      continue;
    }
    ++lines;
    if (arguments_.json) {
      out_ << top::JsonLine(*report);
    } else {
      if ((lines - 1) % kLinesBetweenHeaders == 0) out_ << top::LogHeader();
      out_ << top::LogLine(*report);
    }
    out_.flush();
    if (!out_.good()) return kExitFailed;
  }
  // Somebody waits for figures, and none came.
  return lines > 0 ? kExitOk : kExitUnavailable;
}

ExitCode TopCommand::ShowLive() {
  auto terminal = Terminal::Open();
  if (!terminal.ok()) {
    err_ << "longwave: " << terminal.status().message() << "\n";
    return kExitFailed;
  }
  const auto interval = absl::ToChronoNanoseconds(arguments_.interval);
  std::vector<std::string> lines =
      top::ScreenLines(top::MakeReport(nullptr, *last_, 1), arguments_.metrics, NowSeconds());
  // Rates need a second look; until then there is nothing to show but where it is.
  lines.resize(2);
  Clock::time_point next = Clock::now() + interval;
  for (int64_t shown = 0; !Ended(shown);) {
    (*terminal)->Draw(lines);
    const Terminal::Event event = (*terminal)->AwaitEvent(next);
    if (event == Terminal::Event::kQuit) break;
    if (event == Terminal::Event::kResize) continue;
    ++shown;
    // A server that hangs holds up the look, not the one who looks.
    const auto report = LookAgain([&] { return (*terminal)->QuitAsked(); });
    // From its end: one that took longer than the interval is not followed by the next at once.
    next = Clock::now() + interval;
    if (report.ok()) {
      lines = top::ScreenLines(*report, arguments_.metrics, NowSeconds());
      lines.insert(lines.begin() + 2, "q ends");
    } else {
      lines[0] = absl::StrCat("no answer from ", arguments_.metrics, ": ",
                              report.status().message(), "; below is what was before");
    }
  }
  return kExitOk;
}

}  // namespace longwave::cli
