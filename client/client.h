#ifndef LONGWAVE_CLIENT_CLIENT_H_
#define LONGWAVE_CLIENT_CLIENT_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "client/batch_call.h"
#include "client/call_registry.h"
#include "client/encode_result.h"
#include "client/error_info.h"
#include "client/health_check.h"
#include "client/model_cache.h"
#include "client/options.h"
#include "client/row_reader.h"
#include "longwave/v1/model.pb.h"

namespace longwave::client {

// Takes the rows of one sequence as they come. Called on the thread that called EncodeStream.
class RowHandler {
 public:
  virtual ~RowHandler() = default;
  // Once, before the first row. A status other than OK, here or below, ends the call with it.
  virtual absl::Status OnAccepted(const StreamShape& shape) { return absl::OkStatus(); }
  virtual absl::Status OnRows(const RowView& rows) = 0;
  // Share of the computation done, in [0, 1].
  virtual void OnProgress(double fraction) {}
};

// A connection to Longwave servers. Thread-safe; one per process and target is enough.
//
// Errors are the server's code and text; GetErrorInfo (error_info.h) gives reason, field, value,
// limit and when to try again.
class Client {
 public:
  // Does not connect: a server that is not there shows as UNAVAILABLE at the first call.
  static absl::StatusOr<std::unique_ptr<Client>> Create(ClientOptions options);
  // Cancels what EncodeAsync has under way and waits for its callbacks. Neither a client nor a
  // RowReader may be destroyed on a callback's thread.
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Encodes a list of sequences of any length, in order, as one or several requests; results and
  // errors are those of one call. A sequence that no unary request can hold is refused with
  // REQUEST_TOO_LARGE: EncodeStream takes it.
  absl::StatusOr<EncodeResult> Encode(absl::Span<const TokenSequence> sequences,
                                      const EncodeOptions& options = {});
  // The same without waiting. The ids (not the span) must stay valid until `done` is called, once,
  // on a thread of gRPC, which it must not block; or on the caller's, before this returns.
  void EncodeAsync(absl::Span<const TokenSequence> sequences, const EncodeOptions& options,
                   EncodeCallback done);

  // Encodes one sequence and reads its rows as they come: for rows larger than memory or than a
  // reply. `progress` may be empty. `start` goes on where a reader of an earlier process ended.
  absl::StatusOr<std::unique_ptr<RowReader>> OpenRows(TokenSequence sequence,
                                                      const EncodeOptions& options = {},
                                                      std::function<void(double)> progress = {},
                                                      const StreamStart& start = {});
  // The same with a handler; returns how it was computed.
  absl::StatusOr<v1::StreamDone> EncodeStream(TokenSequence sequence, const EncodeOptions& options,
                                              RowHandler& handler);

  // What encoding sequences of these lengths would cost, without doing it.
  absl::StatusOr<v1::EstimateEncodeResponse> Estimate(absl::Span<const uint32_t> lengths,
                                                      const EncodeOptions& options = {});
  // What the model is, takes and promises. Empty names: the server's default model.
  absl::StatusOr<v1::Model> GetModel(const std::string& model = "",
                                     const std::string& version = "");
  // The state of a service; empty: of the server as a whole.
  absl::StatusOr<HealthStatus> Health(const std::string& service = "",
                                      absl::Duration timeout = absl::Seconds(5));

 private:
  Client(ClientOptions options, std::shared_ptr<grpc::Channel> channel);

  const ClientOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::shared_ptr<v1::EncoderService::Stub> stub_;
  const std::shared_ptr<ModelCache> models_ = std::make_shared<ModelCache>();
  CallRegistry calls_;
};

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLIENT_H_
