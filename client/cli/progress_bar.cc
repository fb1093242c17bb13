#include "client/cli/progress_bar.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "client/cli/printable.h"
#include "client/cli/short_name.h"

namespace longwave::cli {
namespace {

constexpr int kBarCells = 20;
constexpr size_t kNameWidth = 24;
constexpr std::chrono::milliseconds kRedrawEvery{100};

std::string Clock(absl::Duration duration) {
  const int64_t seconds = absl::ToInt64Seconds(duration);
  if (seconds >= 3600) {
    return absl::StrFormat("%d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60);
  }
  return absl::StrFormat("%02d:%02d", seconds / 60, seconds % 60);
}

int TerminalWidth(std::FILE* stream) {
  winsize size{};
  if (ioctl(fileno(stream), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace

std::string RenderProgress(const ProgressState& state, int width) {
  double fraction = state.fraction;
  if (state.total_rows > 1) {
    fraction = std::max(fraction, static_cast<double>(state.rows) / state.total_rows);
  }
  fraction = std::clamp(fraction, 0.0, 1.0);
  std::string line = ShortName(Printable(state.name), kNameWidth);
  // Where nothing is known of the progress, an empty bar would look like none is made.
  if (state.total_rows > 0 || fraction > 0) {
    const int filled = static_cast<int>(fraction * kBarCells);
    absl::StrAppendFormat(&line, " [%s%s] %3d%%", std::string(filled, '#'),
                          std::string(kBarCells - filled, '.'), static_cast<int>(fraction * 100));
  }
  if (state.total_rows > 1) {
    absl::StrAppend(&line, "  ", state.rows, "/", state.total_rows, " rows");
    const double seconds = absl::ToDoubleSeconds(state.elapsed);
    // In the first moments it would be noise.
    if (seconds >= 1 && state.rows > state.first_rows) {
      absl::StrAppendFormat(&line, ", %.0f/s", (state.rows - state.first_rows) / seconds);
    }
  }
  absl::StrAppend(&line, "  ", Clock(state.elapsed));
  const double before =
      state.total_rows > 1 ? static_cast<double>(state.first_rows) / state.total_rows : 0;
  // Before the first hundredth the guess would be noise.
  if (fraction - before >= 0.01 && fraction < 1) {
    absl::StrAppend(&line, ", ", Clock(state.elapsed * ((1 - fraction) / (fraction - before))),
                    " left");
  }
  return line.substr(0, std::max(width, 0));
}

ProgressBar::ProgressBar(std::FILE* stream, bool enabled)
    : stream_(stream), enabled_(enabled && isatty(fileno(stream)) == 1) {}

void ProgressBar::Start(const std::string& name) {
  state_ = {.name = name};
  started_ = std::chrono::steady_clock::now();
  Draw();
}

void ProgressBar::SetRows(int64_t rows, int64_t total_rows) {
  if (state_.total_rows == 0) state_.first_rows = rows;
  state_.rows = rows;
  state_.total_rows = total_rows;
  Draw();
}

void ProgressBar::SetFraction(double fraction) {
  state_.fraction = fraction;
  Draw();
}

void ProgressBar::Clear() {
  if (!visible_) return;
  std::fputs("\r\x1b[K", stream_);
  std::fflush(stream_);
  visible_ = false;
}

void ProgressBar::Draw() {
  const auto now = std::chrono::steady_clock::now();
  if (!enabled_ || now - drawn_ < kRedrawEvery) return;
  drawn_ = now;
  state_.elapsed = absl::FromChrono(now - started_);
  // One column stays free: some terminals break the line after the last.
  absl::FPrintF(stream_, "\r%s\x1b[K", RenderProgress(state_, TerminalWidth(stream_) - 1));
  std::fflush(stream_);
  visible_ = true;
}

}  // namespace longwave::cli
