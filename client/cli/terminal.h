#ifndef LONGWAVE_CLIENT_CLI_TERMINAL_H_
#define LONGWAVE_CLIENT_CLI_TERMINAL_H_

#include <termios.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace longwave::cli {

// A screen of its own on the terminal of standard output, with keys from the one of standard input
// if that is one too. The terminal is as it was when this is gone; the signals that end programs
// count as the key q for as long as it lives. One at a time in a process.
class Terminal {
 public:
  enum class Event { kTime, kQuit, kResize };

  static bool Available();
  static absl::StatusOr<std::unique_ptr<Terminal>> Open();
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  // Shows what fits of the lines, in place of what was there.
  void Draw(const std::vector<std::string>& lines);
  // Until the time has come, or something else, which goes before the time even if that has come.
  Event AwaitEvent(std::chrono::steady_clock::time_point until);
  // Whether AwaitEvent would give kQuit; waits for nothing.
  bool QuitAsked();

 private:
  Terminal() = default;
  // What a byte of a signal or key stands for; kTime: nothing.
  static Event EventOf(int descriptor, bool key);
  Event Poll(int milliseconds);

  bool has_keys_ = false;
  Event seen_ = Event::kTime;  // by QuitAsked, and not told yet
  termios saved_{};
};

// What fits of a screen, as one piece to write: each line cut to `columns` bytes, none ending in a
// part of a UTF-8 character, the rest of the screen cleared.
std::string RenderScreen(const std::vector<std::string>& lines, int columns, int rows);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_TERMINAL_H_
