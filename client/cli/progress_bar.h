#ifndef LONGWAVE_CLIENT_CLI_PROGRESS_BAR_H_
#define LONGWAVE_CLIENT_CLI_PROGRESS_BAR_H_

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/time/time.h"

namespace longwave::cli {

struct ProgressState {
  std::string name;
  double fraction = 0;     // of the computation, in [0, 1]
  int64_t rows = 0;        // received
  int64_t first_rows = 0;  // of those: what was there when the time began
  int64_t total_rows = 0;
  absl::Duration elapsed;
};

// One line of at most `width` characters: name, share, rows and their rate, elapsed time, time
// left.
std::string RenderProgress(const ProgressState& state, int width);

// Draws the line again and again in the same place, a few times a second, on a terminal; on
// anything else it draws nothing.
class ProgressBar {
 public:
  // `stream` outlives the bar.
  ProgressBar(std::FILE* stream, bool enabled);
  ~ProgressBar() { Clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void Start(const std::string& name);
  // The first call behind Start says where the rows begin.
  void SetRows(int64_t rows, int64_t total_rows);
  void SetFraction(double fraction);
  // Takes the line away, before other text.
  void Clear();

 private:
  void Draw();

  std::FILE* const stream_;
  const bool enabled_;
  ProgressState state_;
  std::chrono::steady_clock::time_point started_;
  std::chrono::steady_clock::time_point drawn_{};
  bool visible_ = false;
};

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_PROGRESS_BAR_H_
