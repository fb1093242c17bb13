#include "tests/unit/client/scripted_server.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <random>

#include "client/crc32c.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace longwave::client {
namespace {

uint16_t ToHalf(float value) {
  // Only for normal, exactly representable values: the biases differ by 112.
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (value == 0) return 0;
  return static_cast<uint16_t>(((bits >> 16) & 0x8000) |
                               (((bits >> 13) & 0x3FFFF) - (112 << 10)) % 0x8000);
}

void AppendRow(const std::vector<float>& row, v1::DataType dtype, v1::EmbeddingBlock* block) {
  std::string* data = block->mutable_data();
  const auto append = [data](auto value) {
    data->append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  if (dtype == v1::DATA_TYPE_INT8) block->add_scales(0.125f);
  for (size_t i = 0; i < row.size(); ++i) {
    if (dtype == v1::DATA_TYPE_FP16) {
      append(ToHalf(row[i]));
    } else if (dtype == v1::DATA_TYPE_BF16) {
      append(static_cast<uint16_t>(std::bit_cast<uint32_t>(row[i]) >> 16));
    } else if (dtype == v1::DATA_TYPE_INT8) {
      append(static_cast<int8_t>(row[i] * 8));
    } else if (dtype == v1::DATA_TYPE_BINARY) {
      if (i % 8 == 0) data->push_back(0);
      if (row[i] > 0) data->back() |= static_cast<char>(0x80 >> (i % 8));
    } else {
      append(row[i]);
    }
  }
}

void FillBlock(absl::Span<const uint32_t> ids, int64_t begin, int64_t end, int64_t dim,
               v1::DataType dtype, v1::EmbeddingBlock* block) {
  block->set_dtype(dtype == v1::DATA_TYPE_UNSPECIFIED ? v1::DATA_TYPE_FP32 : dtype);
  block->set_dim(static_cast<uint32_t>(dim));
  block->set_rows(block->rows() + static_cast<uint32_t>(end - begin));
  std::vector<float> row(dim);
  for (int64_t r = begin; r < end; ++r) {
    for (int64_t c = 0; c < dim; ++c) row[c] = ExpectedValue(ids, r, c);
    AppendRow(row, block->dtype(), block);
  }
}

std::vector<uint32_t> Widen(const std::string& bytes, v1::IdWidth width) {
  const size_t size = width == v1::ID_WIDTH_U8 ? 1 : width == v1::ID_WIDTH_U16 ? 2 : 4;
  std::vector<uint32_t> ids(bytes.size() / size, 0);
  for (size_t i = 0; i < ids.size(); ++i) std::memcpy(&ids[i], bytes.data() + i * size, size);
  return ids;
}

// Of one sequence: one for each token, each span, or one.
int64_t CountRows(const v1::OutputSpec& output, int sequence, int64_t tokens) {
  if (output.pooling() == v1::POOLING_NONE) return tokens;
  if (output.pooling() != v1::POOLING_SPANS) return 1;
  return std::count_if(output.spans().begin(), output.spans().end(), [sequence](const auto& span) {
    return static_cast<int>(span.sequence()) == sequence;
  });
}

}  // namespace

float ExpectedValue(absl::Span<const uint32_t> ids, int64_t row, int64_t column) {
  uint64_t hash = 1469598103934665603ull;
  const auto mix = [&hash](uint64_t value) { hash = (hash ^ value) * 1099511628211ull; };
  for (const uint32_t id : ids) mix(id);
  mix(row);
  mix(column);
  return static_cast<float>(static_cast<int>((hash >> 40) % 255) - 127) / 8;
}

std::vector<std::vector<uint32_t>> MakeSequences(int count, int longest, uint32_t vocabulary) {
  std::mt19937 random(7);
  std::vector<std::vector<uint32_t>> sequences(count);
  for (auto& sequence : sequences) {
    sequence.resize(1 + random() % longest);
    for (uint32_t& id : sequence) id = random() % vocabulary;
  }
  return sequences;
}

std::vector<TokenSequence> Views(const std::vector<std::vector<uint32_t>>& sequences) {
  return {sequences.begin(), sequences.end()};
}

grpc::Status OurFault(const std::string& message) {
  google::rpc::ErrorInfo info;
  info.set_reason("INTERNAL");
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  return {grpc::StatusCode::INTERNAL, message, details.SerializeAsString()};
}

bool StreamScript::ReadOpen() {
  v1::EncodeStreamRequest message;
  if (!stream_->Read(&message) || !message.has_open()) return false;
  open = message.open();
  return true;
}

bool StreamScript::ReadIds() {
  v1::EncodeStreamRequest message;
  std::string bytes;
  while (stream_->Read(&message)) {
    if (message.has_end()) {
      ids = Widen(bytes, open.request().tokens().id_width());
      return true;
    }
    ++data_messages;
    if (message.data().offset() != bytes.size()) return false;
    bytes += message.data().ids();
  }
  return false;
}

void StreamScript::Send(v1::EncodeStreamResponse message) {
  message.set_tag(1);
  stream_->Write(message);
}

void StreamScript::Accept(int64_t total_rows, const std::string& fingerprint) {
  v1::EncodeStreamResponse message;
  message.mutable_accepted()->set_total_rows(total_rows);
  message.mutable_accepted()->set_dim(static_cast<uint32_t>(dim_));
  message.mutable_accepted()->set_fingerprint(fingerprint);
  Send(std::move(message));
}

void StreamScript::Progress(double fraction) {
  v1::EncodeStreamResponse message;
  message.mutable_progress()->set_fraction(fraction);
  Send(std::move(message));
}

v1::EncodeStreamResponse StreamScript::MakeChunk(int64_t begin, int64_t end) const {
  v1::EncodeStreamResponse message;
  v1::StreamChunk* chunk = message.mutable_chunk();
  chunk->set_first_row(begin);
  FillBlock(ids, begin, end, dim_, open.request().output().dtype(), chunk->mutable_embeddings());
  chunk->set_crc32c(Crc32c(chunk->embeddings().data()));
  return message;
}

void StreamScript::Rows(int64_t begin, int64_t end, int64_t chunk_rows) {
  for (int64_t row = begin; row < end; row += chunk_rows) {
    Send(MakeChunk(row, std::min(end, row + chunk_rows)));
  }
}

void StreamScript::Done(int64_t total_rows, const std::string& fingerprint) {
  v1::EncodeStreamResponse message;
  v1::StreamDone* done = message.mutable_done();
  done->set_total_rows(total_rows);
  done->mutable_execution()->set_fingerprint(fingerprint);
  done->set_model_digest(fingerprint.substr(0, fingerprint.find(' ')));
  done->add_sequences()->set_tokens_in(static_cast<uint32_t>(ids.size()));
  Send(std::move(message));
}

grpc::Status StreamScript::ServeAll(const std::string& fingerprint) {
  if (!ReadOpen()) return grpc::Status::CANCELLED;
  const int64_t total = CountRows(open.request().output(), 0, open.request().tokens().lengths(0));
  Accept(total, fingerprint);
  if (!ReadIds()) return grpc::Status::CANCELLED;
  if (open.progress()) Progress(0.5);
  Rows(static_cast<int64_t>(open.resume_from_row()), total, 7);
  Done(total, fingerprint);
  return grpc::Status::OK;
}

ScriptedServer::ScriptedServer() {
  model.set_name("scripted");
  model.set_dim(16);
  model.set_vocab_size(1000);
  model.set_max_tokens(1 << 20);
  model.set_default_pooling(v1::POOLING_MEAN);
  model.set_fingerprint("weights-a cpu");
  model.set_weights_digest("weights-a");
  model.mutable_limits()->set_max_sequences_per_request(64);
  model.mutable_limits()->set_max_tokens_per_request(1 << 20);
  model.mutable_limits()->set_max_unary_reply_bytes(3 << 20);
  model.mutable_limits()->set_max_receive_message_bytes(5 << 20);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(8 << 20);
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
}

ScriptedServer::~ScriptedServer() { server_->Shutdown(std::chrono::system_clock::now()); }

std::vector<v1::EncodeRequest> ScriptedServer::requests() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return requests_;
}

int ScriptedServer::streams() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return streams_;
}

grpc::Status ScriptedServer::Encode(grpc::ServerContext* context, const v1::EncodeRequest* request,
                                    v1::EncodeResponse* response) {
  int number;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    number = static_cast<int>(requests_.size());
    requests_.push_back(*request);
  }
  if (on_encode) {
    if (grpc::Status status = on_encode(number, context, *request); !status.ok()) return status;
  }
  const std::vector<uint32_t> ids = Widen(request->tokens().ids(), request->tokens().id_width());
  size_t begin = 0;
  for (const uint32_t length : request->tokens().lengths()) {
    const auto sequence = absl::MakeConstSpan(ids).subspan(begin, length);
    const int64_t rows = CountRows(request->output(), response->sequences_size(), length);
    FillBlock(sequence, 0, rows, model.dim(), request->output().dtype(),
              response->mutable_embeddings());
    v1::SequenceInfo* info = response->add_sequences();
    info->set_tokens_in(length);
    info->set_tokens_used(length);
    info->set_rows(static_cast<uint32_t>(rows));
    info->set_route(v1::ROUTE_CHUNKWISE);
    begin += length;
  }
  response->set_model(model.name());
  response->set_model_digest(model.weights_digest());
  response->set_request_id(request->request_id());
  response->mutable_execution()->set_fingerprint(model.fingerprint());
  response->mutable_timings()->mutable_queue()->set_nanos(2'000'000);
  response->mutable_timings()->mutable_compute()->set_nanos(5'000'000);
  if (on_reply) on_reply(number, response);
  return grpc::Status::OK;
}

grpc::Status ScriptedServer::EncodeStream(grpc::ServerContext* context,
                                          StreamScript::Stream* stream) {
  int number;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    number = streams_++;
  }
  StreamScript script(context, stream, model.dim());
  return on_stream ? on_stream(number, script) : script.ServeAll(model.fingerprint());
}

grpc::Status ScriptedServer::EstimateEncode(grpc::ServerContext*,
                                            const v1::EstimateEncodeRequest* request,
                                            v1::EstimateEncodeResponse* response) {
  uint64_t tokens = 0;
  for (const uint32_t length : request->lengths()) tokens += length;
  response->set_tokens(tokens);
  response->set_predicted_seconds(0.25);
  response->set_admissible(true);
  response->add_routes(v1::ROUTE_CHUNKWISE);
  return grpc::Status::OK;
}

grpc::Status ScriptedServer::GetModel(grpc::ServerContext* context, const v1::GetModelRequest*,
                                      v1::GetModelResponse* response) {
  if (on_get_model) {
    if (grpc::Status status = on_get_model(context); !status.ok()) return status;
  }
  *response->mutable_model() = model;
  return grpc::Status::OK;
}

}  // namespace longwave::client
