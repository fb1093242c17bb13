#ifndef LONGWAVE_SERVER_SERVE_H_
#define LONGWAVE_SERVER_SERVE_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "server/encoder_source.h"
#include "server/options.h"

namespace longwave {

// Exit codes of the server programs.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;  // could not start, lost its device, or cut calls off
inline constexpr int kExitUsage = 2;   // flags or configuration

// The whole life of a server: open the ports, load, warm up, serve until a signal, drain. Returns
// the exit code. Must be called before the process has other threads.
int Serve(const ServerOptions& options, int64_t longest_sequence, const EncoderSource& source);

// To stderr, for whoever starts the program: what comes before there is a log, or instead of it.
void PrintError(absl::string_view message);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SERVE_H_
