#ifndef LONGWAVE_SERVER_RPC_RPC_OPTIONS_H_
#define LONGWAVE_SERVER_RPC_RPC_OPTIONS_H_

#include <chrono>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "server/admission/validator.h"

namespace longwave {

// Replies and stream messages stay below this, the limit that every gRPC client has by default.
inline constexpr int64_t kMaxReplyBytes = 4 << 20;
// Largest payload of a stream's message, both ways.
inline constexpr int64_t kMaxChunkBytes = 1 << 20;

// gRPC cuts off calls that arrive in the moment of its shutdown with CANCELLED, which other clients
// than ours do not repeat. So a port that drains refuses calls with UNAVAILABLE first, until none
// has come for a while, or for this long.
inline constexpr std::chrono::milliseconds kLongestUnrest{1000};

// Which requests that ended well get a line of log above the level "debug". What failed always has
// one.
enum class RequestLogging { kFailed, kSampled, kAll };  // none, those of sampled traces, every one

// What each call may take.
struct CallOptions {
  RequestLimits limits;
  // A caller that gives no deadline, or a later one, gets this.
  double max_deadline_seconds = 120;
  // The same for one request (tag) of a stream, from its Open on.
  double max_stream_deadline_seconds = 3600;
  // Rows of one tag that wait for the reader, at most, before its computation pauses. Four chunks:
  // one on the wire, three ahead of it.
  int64_t stream_buffer_bytes = 4 * kMaxChunkBytes;
  // A stream that takes no message for longer is given up. The same value as
  // SchedulerOptions::max_stall_seconds, which checks it.
  double max_stall_seconds = 30;
  // Requests open on one stream at once.
  int max_stream_tags = 256;
  // Token ids (four bytes each) of all streams that have arrived and are not yet queued.
  int64_t max_receiving_bytes = 256 << 20;
  // A connection with more calls that are not over is cut: it resets them faster than they can end.
  // RpcServer makes it twice PortOptions::max_concurrent_streams, which a connection that waits for
  // its answers never reaches.
  int64_t max_open_calls = 2048;

  RequestLogging log_requests = RequestLogging::kFailed;

  // Every problem at once, each naming the flag to change.
  absl::Status Validate() const;
};

// The port and its connections.
struct PortOptions {
  std::string address = "127.0.0.1:50051";  // port 0: any free one
  bool reflection = true;
  // Connections are closed (with a GOAWAY, calls in flight go on) at this age, so that clients
  // behind a plain load balancer find new replicas; 0 = never.
  double max_connection_age_seconds = 0;
  // Connections that take longer for TLS and the first frames are closed: each holds a descriptor.
  double handshake_timeout_seconds = 10;
  // Streams that one connection may have open at once.
  int max_concurrent_streams = 1024;
  // Bytes that gRPC may hold of messages on their way in and out, all connections together. Without
  // it a peer that announces a message of 4 GiB is taken at its word. Near the limit, idle
  // connections are asked to leave and the largest messages are given up.
  int64_t max_transport_bytes = int64_t{1} << 30;

  // Every problem at once, each naming the flag to change.
  absl::Status Validate() const;
};

// The largest message that a server of this model accepts: all ids of the longest sequence, four
// bytes each, and room for the rest.
inline int64_t MaxReceiveBytes(int64_t longest_sequence) {
  return 4 * longest_sequence + (int64_t{1} << 20);
}

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_RPC_OPTIONS_H_
