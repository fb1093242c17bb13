#ifndef LONGWAVE_CLIENT_OPTIONS_H_
#define LONGWAVE_CLIENT_OPTIONS_H_

#include <grpcpp/security/credentials.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "longwave/v1/encode.pb.h"

namespace longwave::client {

// A view of one sequence's token ids.
using TokenSequence = absl::Span<const uint32_t>;

// Half-open range of token positions in one sequence of the call.
struct TokenSpan {
  uint32_t sequence = 0;
  uint32_t begin = 0;
  uint32_t end = 0;
};

// How a broken row stream is taken up again. Unary calls are retried by the service config alone.
struct StreamRetryOptions {
  int attempts_before_first_row = 4;  // as the service config gives unary calls
  int attempts_without_progress = 8;  // once rows have come: about 7 s of waiting altogether
  absl::Duration initial_backoff = absl::Milliseconds(50);
  absl::Duration max_backoff = absl::Seconds(2);
  // At least, once refused twice by replicas that shut down: such a one is still chosen, and
  // refuses, for up to a second before its port closes.
  absl::Duration draining_backoff = absl::Milliseconds(1250);
};

struct ClientOptions {
  // As gRPC names targets: "host:port", "dns:///host:port", "unix:path"; replicas:
  // "ipv4:10.0.0.1:50051,10.0.0.2:50051" or a name with several addresses.
  std::string target = "127.0.0.1:50051";
  // Null: plaintext. grpc::SslCredentials speaks TLS, with a certificate of the client's own too.
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  // Sent with every call as `authorization: Bearer <key>`; empty: none. Refused together with null
  // credentials unless the target is this machine: whoever wants a key to cross a network in
  // plaintext says so with grpc::InsecureChannelCredentials().
  std::string api_key;
  // The name that the server's certificate must have; empty: the target's host.
  std::string tls_server_name;
  // Leave a replica alone as soon as its health says NOT_SERVING, without a call having to fail
  // there. Unset: where the target names several addresses. With one, the server's own reason
  // (LOADING, DRAINING) is worth more than "no healthy backend".
  std::optional<bool> health_checked;
  // Empty: DefaultServiceConfig().
  std::string service_config_json;
  // A request that does not fit is sent once only: gRPC's own default (256 KiB) would leave long
  // sequences without retries. 4 bytes for each of 2^20 ids, twice.
  int retry_buffer_bytes = 8 << 20;
  // Replies stay below 4 MiB by contract; the rest is room for servers set up otherwise.
  int max_receive_bytes = 8 << 20;
  // A peer that is gone without a word is noticed after this and 20 s. gRPC servers refuse pings
  // more often than every 5 minutes unless set up otherwise.
  absl::Duration keepalive_time = absl::Minutes(6);
  StreamRetryOptions stream_retry;
};

// What one call wants. The defaults give the model's own pooling and normalisation in fp32.
struct EncodeOptions {
  std::string model;  // empty: the server's default
  std::string model_version;
  std::string request_id;

  v1::Pooling pooling = v1::POOLING_UNSPECIFIED;
  std::vector<TokenSpan> spans;       // POOLING_SPANS: one vector each
  uint32_t row_stride = 0;            // POOLING_NONE: every stride-th row; 0 = 1
  std::vector<TokenSpan> row_ranges;  // POOLING_NONE: these rows; empty = all
  std::vector<int32_t> layers;        // 0 = embeddings, negative from the end; empty = the last
  v1::DataType dtype = v1::DATA_TYPE_FP32;  // on the wire; results are float
  std::optional<bool> normalize;
  uint32_t truncate_dim = 0;
  bool allow_undeclared_dim = false;

  v1::TruncationSide truncation = v1::TRUNCATION_SIDE_UNSPECIFIED;  // refuse what is too long
  uint32_t max_tokens = 0;  // with a truncation side; 0 = the model's limit
  v1::Priority priority = v1::PRIORITY_UNSPECIFIED;
  std::string tenant;
  bool deterministic = false;
  v1::Route route = v1::ROUTE_UNSPECIFIED;
  std::string tokenizer_fingerprint;

  // For the whole call, retries and all its parts included. Infinite: for unary calls the limit of
  // the service config, for streams none.
  absl::Duration timeout = absl::InfiniteDuration();

  // Long lists travel as several requests of about this many tokens, so many at a time: enough that
  // a server has the next batch when it ends one, and not so many that the last one waits long.
  int64_t tokens_per_request = 1 << 15;
  int max_in_flight = 4;
  // A sequence that fails does not fail the call: see SequenceResult::status.
  bool keep_going = false;
};

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_OPTIONS_H_
