#include "client/cli/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/printable.h"

namespace longwave::cli {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH};
constexpr char kEnter[] = "\x1b[?1049h\x1b[?25l";  // other screen, no cursor
constexpr char kLeave[] = "\x1b[?25h\x1b[?1049l";

// A signal becomes a byte here. A handler may do no more than write.
int g_signal_pipe[2] = {-1, -1};

extern "C" void PassOn(int signal) {
  const int saved = errno;
  const char byte = static_cast<char>(signal);
  (void)!write(g_signal_pipe[1], &byte, 1);
  errno = saved;
}

void SetSignals(void (*handler)(int)) {
  for (const int signal : kSignals) {
    struct sigaction action{};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    sigaction(signal, &action, nullptr);
  }
}

void WriteAll(const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t written = write(STDOUT_FILENO, text.data() + at, text.size() - at);
    if (written < 0 && errno != EINTR) return;  // the terminal is gone; a signal tells
    at += static_cast<size_t>(std::max<ssize_t>(written, 0));
  }
}

winsize Size() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) {
    size.ws_col = 80;
    size.ws_row = 24;
  }
  return size;
}

}  // namespace

std::string RenderScreen(const std::vector<std::string>& lines, int columns, int rows) {
  std::string text = "\x1b[H";
  const size_t shown = std::min(lines.size(), static_cast<size_t>(std::max(rows, 0)));
  for (size_t i = 0; i < shown; ++i) {
    const std::string line = Printable(lines[i]);
    size_t end = std::min(line.size(), static_cast<size_t>(std::max(columns, 0)));
    while (end > 0 && end < line.size() && (line[end] & 0xC0) == 0x80) --end;
    // No end of line behind the last: the screen would move.
    absl::StrAppend(&text, line.substr(0, end), "\x1b[K", i + 1 < shown ? "\r\n" : "");
  }
  return text + "\x1b[J";
}

bool Terminal::Available() { return isatty(STDOUT_FILENO) == 1; }

absl::StatusOr<std::unique_ptr<Terminal>> Terminal::Open() {
  if (pipe2(g_signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
    return absl::InternalError(absl::StrCat("no pipe for signals: ", std::strerror(errno)));
  }
  std::unique_ptr<Terminal> terminal(new Terminal());
  SetSignals(PassOn);
  terminal->has_keys_ = tcgetattr(STDIN_FILENO, &terminal->saved_) == 0;
  if (terminal->has_keys_) {
    termios keys = terminal->saved_;
    keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    // Stopped, the program could not give the terminal back.
    keys.c_cc[VSUSP] = _POSIX_VDISABLE;
    tcsetattr(STDIN_FILENO, TCSANOW, &keys);
  }
  WriteAll(kEnter);
  return terminal;
}

Terminal::~Terminal() {
  WriteAll(kLeave);
  if (has_keys_) tcsetattr(STDIN_FILENO, TCSANOW, &saved_);
  SetSignals(SIG_DFL);
  for (int& descriptor : g_signal_pipe) close(descriptor);
}

void Terminal::Draw(const std::vector<std::string>& lines) {
  const winsize size = Size();
  WriteAll(RenderScreen(lines, size.ws_col, size.ws_row));
}

Terminal::Event Terminal::EventOf(int descriptor, bool key) {
  char byte = 0;
  const ssize_t got = read(descriptor, &byte, 1);
  if (key) return got <= 0 || byte == 'q' || byte == 'Q' ? Event::kQuit : Event::kTime;
  if (got <= 0) return Event::kTime;
  return byte == SIGWINCH ? Event::kResize : Event::kQuit;
}

// What has come within the time; kTime: nothing that means anything.
Terminal::Event Terminal::Poll(int milliseconds) {
  pollfd waiting[2] = {{g_signal_pipe[0], POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
  if (poll(waiting, has_keys_ ? 2 : 1, milliseconds) <= 0) return Event::kTime;
  Event event = Event::kTime;
  if (waiting[0].revents != 0) event = EventOf(g_signal_pipe[0], false);
  if (event == Event::kTime && waiting[1].revents != 0) event = EventOf(STDIN_FILENO, true);
  return event;
}

bool Terminal::QuitAsked() {
  if (seen_ == Event::kQuit) return true;
  for (Event event = Poll(0); event != Event::kTime; event = Poll(0)) {
    seen_ = event;
    if (event == Event::kQuit) return true;
  }
  return false;
}

Terminal::Event Terminal::AwaitEvent(std::chrono::steady_clock::time_point until) {
  while (true) {
    if (const Event event = std::exchange(seen_, Event::kTime); event != Event::kTime) return event;
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    // At least a look: after a stall the time is always over, and nobody would be heard any more.
    const Event event = Poll(static_cast<int>(std::clamp<int64_t>(left.count(), 0, 60'000)));
    if (event != Event::kTime) return event;
    if (left.count() <= 0) return Event::kTime;
  }
}

}  // namespace longwave::cli
