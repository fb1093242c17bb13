#ifndef LONGWAVE_TESTS_UNIT_CLIENT_SCRIPTED_SERVER_H_
#define LONGWAVE_TESTS_UNIT_CLIENT_SCRIPTED_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "client/options.h"
#include "longwave/v1/encoder_service.grpc.pb.h"

namespace longwave::client {

// The value that the scripted server gives for one place of a sequence's rows: a hash of all ids,
// so that every reply tells which sequence it belongs to. A multiple of 1/8 below 16 in size: exact
// in every float type of the wire.
float ExpectedValue(absl::Span<const uint32_t> ids, int64_t row, int64_t column);

// `count` sequences with lengths and ids from a seed.
std::vector<std::vector<uint32_t>> MakeSequences(int count, int longest, uint32_t vocabulary);
std::vector<TokenSequence> Views(const std::vector<std::vector<uint32_t>>& sequences);

// A fault as our servers tell it, with a reason. Without one it would be a transport's, and the
// client would try again.
grpc::Status OurFault(const std::string& message);

// One EncodeStream as the test sees it: what the client sent, and ways to answer.
class StreamScript {
 public:
  using Stream = grpc::ServerReaderWriter<v1::EncodeStreamResponse, v1::EncodeStreamRequest>;

  StreamScript(grpc::ServerContext* server_context, Stream* stream, int64_t dim)
      : context(server_context), stream_(stream), dim_(dim) {}

  // False if the client left first.
  bool ReadOpen();
  // Reads Data and End; the ids are then in `ids`.
  bool ReadIds();
  void Accept(int64_t total_rows, const std::string& fingerprint);
  void Progress(double fraction);
  // A chunk as Rows sends it, for tests that spoil it.
  v1::EncodeStreamResponse MakeChunk(int64_t begin, int64_t end) const;
  // Rows [begin, end) in chunks of `chunk_rows`.
  void Rows(int64_t begin, int64_t end, int64_t chunk_rows);
  void Done(int64_t total_rows, const std::string& fingerprint);
  void Send(v1::EncodeStreamResponse message);
  // Open, Accepted, ids, all rows from where the client wants them, Done.
  grpc::Status ServeAll(const std::string& fingerprint);

  grpc::ServerContext* const context;
  v1::StreamOpen open;
  std::vector<uint32_t> ids;
  int64_t data_messages = 0;

 private:
  Stream* const stream_;
  const int64_t dim_;
};

// An EncoderService in this process that answers with ExpectedValue unless a hook says otherwise.
class ScriptedServer final : public v1::EncoderService::Service {
 public:
  // Hooks run before the ordinary answer, which an OK status lets happen. `number` counts from 0.
  std::function<grpc::Status(int number, grpc::ServerContext*, const v1::EncodeRequest&)> on_encode;
  // May change the ordinary reply.
  std::function<void(int number, v1::EncodeResponse*)> on_reply;
  // Replaces ServeAll.
  std::function<grpc::Status(int number, StreamScript&)> on_stream;
  std::function<grpc::Status(grpc::ServerContext*)> on_get_model;
  v1::Model model;

  ScriptedServer();
  ~ScriptedServer() override;
  std::string target() const { return absl::StrCat("127.0.0.1:", port_); }
  grpc::Server* server() { return server_.get(); }

  // Requests as they came.
  std::vector<v1::EncodeRequest> requests() const;
  int streams() const;

  grpc::Status Encode(grpc::ServerContext* context, const v1::EncodeRequest* request,
                      v1::EncodeResponse* response) override;
  grpc::Status EncodeStream(grpc::ServerContext* context, StreamScript::Stream* stream) override;
  grpc::Status EstimateEncode(grpc::ServerContext* context,
                              const v1::EstimateEncodeRequest* request,
                              v1::EstimateEncodeResponse* response) override;
  grpc::Status GetModel(grpc::ServerContext* context, const v1::GetModelRequest* request,
                        v1::GetModelResponse* response) override;

 private:
  mutable std::mutex mutex_;
  std::vector<v1::EncodeRequest> requests_;
  int streams_ = 0;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace longwave::client

#endif  // LONGWAVE_TESTS_UNIT_CLIENT_SCRIPTED_SERVER_H_
