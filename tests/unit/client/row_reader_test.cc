#include "client/row_reader.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "client/client.h"
#include "tests/unit/client/scripted_server.h"

namespace longwave::client {
namespace {

constexpr char kFingerprint[] = "weights-a cpu";
constexpr std::chrono::milliseconds kDrainingBackoff{100};

class RowReaderTest : public testing::Test {
 protected:
  RowReaderTest() : ids_(100) {
    std::iota(ids_.begin(), ids_.end(), 0);
    options_.pooling = v1::POOLING_NONE;
    ClientOptions options;
    options.target = server_.target();
    options.stream_retry.initial_backoff = absl::Microseconds(100);
    options.stream_retry.draining_backoff = absl::FromChrono(kDrainingBackoff);
    options.stream_retry.max_backoff = absl::Milliseconds(1);
    client_ = std::move(Client::Create(options)).value();
  }

  // Reads to the end; every row must be the next one and have its own values.
  absl::Status ReadAll(RowReader& reader, int64_t* rows_read = nullptr) {
    int64_t next = 0;
    while (true) {
      const auto rows = reader.Next();
      if (rows_read != nullptr) *rows_read = next;
      if (!rows.ok()) return rows.status();
      if (rows->rows == 0) return absl::OkStatus();
      EXPECT_EQ(rows->first_row, next);
      for (int64_t i = 0; i < rows->rows * rows->dim; ++i) {
        EXPECT_EQ(rows->values[i], ExpectedValue(ids_, next + i / rows->dim, i % rows->dim));
      }
      next += rows->rows;
    }
  }

  absl::Status OpenAndReadAll(int64_t* rows_read = nullptr) {
    auto reader = client_->OpenRows(ids_, options_);
    if (!reader.ok()) return reader.status();
    reader_ = std::move(*reader);
    return ReadAll(*reader_, rows_read);
  }

  ScriptedServer server_;
  std::unique_ptr<Client> client_;
  std::vector<uint32_t> ids_;
  EncodeOptions options_;
  std::unique_ptr<RowReader> reader_;
};

TEST_F(RowReaderTest, GivesAllRowsInOrder) {
  EXPECT_TRUE(OpenAndReadAll().ok());
  EXPECT_EQ(reader_->shape().total_rows, 100);
  EXPECT_EQ(reader_->shape().dim, 16);
  EXPECT_EQ(reader_->shape().fingerprint, kFingerprint);
  EXPECT_EQ(reader_->summary().total_rows(), 100);
  EXPECT_EQ(reader_->summary().sequences(0).tokens_in(), 100);
  EXPECT_EQ(reader_->attempts(), 1);
  EXPECT_EQ(reader_->resumes(), 0);
  EXPECT_EQ(reader_->Next().value().rows, 0);  // the end stays the end
}

TEST_F(RowReaderTest, DecodesEveryWireType) {
  for (const auto dtype : {v1::DATA_TYPE_FP16, v1::DATA_TYPE_BF16, v1::DATA_TYPE_INT8}) {
    options_.dtype = dtype;
    EXPECT_TRUE(OpenAndReadAll().ok()) << dtype;
  }
}

TEST_F(RowReaderTest, SendsLongInputsInPieces) {
  ids_.assign((1 << 20) + 5, 999);  // 2 bytes an id: three pieces
  options_.pooling = v1::POOLING_MEAN;
  int64_t pieces = 0;
  server_.on_stream = [&](int, StreamScript& script) {
    const grpc::Status status = script.ServeAll(kFingerprint);
    pieces = script.data_messages;
    return status;
  };
  EXPECT_TRUE(OpenAndReadAll().ok());
  EXPECT_EQ(pieces, 3);
}

TEST_F(RowReaderTest, TakesABrokenStreamUpAtTheNextRow) {
  std::vector<int64_t> from;
  server_.on_stream = [&](int number, StreamScript& script) {
    if (number == 2) {
      const grpc::Status status = script.ServeAll(kFingerprint);
      from.push_back(static_cast<int64_t>(script.open.resume_from_row()));
      return status;
    }
    if (!script.ReadOpen()) return grpc::Status::CANCELLED;
    const int64_t begin = static_cast<int64_t>(script.open.resume_from_row());
    from.push_back(begin);
    script.Accept(100, kFingerprint);
    if (!script.ReadIds()) return grpc::Status::CANCELLED;
    script.Rows(begin, begin + 30, 10);
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going away");
  };
  EXPECT_TRUE(OpenAndReadAll().ok());
  EXPECT_EQ(from, (std::vector<int64_t>{0, 30, 60}));
  EXPECT_EQ(reader_->attempts(), 3);
  EXPECT_EQ(reader_->resumes(), 2);
}

TEST_F(RowReaderTest, CountsEveryAttemptWhereverTheOneBeforeEnded) {
  server_.on_stream = [&](int number, StreamScript& script) {
    const grpc::Status gone(grpc::StatusCode::UNAVAILABLE, "going away");
    if (number == 0 || number == 3) return gone;  // before anybody has taken the request
    if (number == 5) return script.ServeAll(kFingerprint);
    if (!script.ReadOpen()) return grpc::Status::CANCELLED;
    const int64_t begin = static_cast<int64_t>(script.open.resume_from_row());
    script.Accept(100, kFingerprint);
    if (number == 1) return gone;  // while the ids are on their way
    if (!script.ReadIds()) return grpc::Status::CANCELLED;
    if (number == 2) script.Rows(begin, begin + 30, 10);
    return gone;  // behind rows, and before the next one
  };
  EXPECT_TRUE(OpenAndReadAll().ok());
  EXPECT_EQ(server_.streams(), 6);
  EXPECT_EQ(reader_->attempts(), 6);
}

TEST_F(RowReaderTest, ACallThatAServerCutOffIsTakenUpToo) {
  server_.on_stream = [&](int number, StreamScript& script) {
    if (number > 0) return script.ServeAll(kFingerprint);
    return grpc::Status::CANCELLED;
  };
  EXPECT_TRUE(OpenAndReadAll().ok());
}

TEST_F(RowReaderTest, AStreamThatAProxyResetsIsTakenUpAtTheNextRow) {
  // A server of ours says why; gRPC makes INTERNAL without details of a reset.
  std::vector<int64_t> from;
  server_.on_stream = [&](int number, StreamScript& script) {
    if (!script.ReadOpen()) return grpc::Status::CANCELLED;
    const int64_t begin = static_cast<int64_t>(script.open.resume_from_row());
    from.push_back(begin);
    script.Accept(100, kFingerprint);
    if (!script.ReadIds()) return grpc::Status::CANCELLED;
    if (number == 0) {
      script.Rows(begin, begin + 30, 10);
      return grpc::Status(grpc::StatusCode::INTERNAL, "Received RST_STREAM with error code 2");
    }
    script.Rows(begin, 100, 10);
    script.Done(100, kFingerprint);
    return grpc::Status::OK;
  };
  EXPECT_TRUE(OpenAndReadAll().ok());
  EXPECT_EQ(from, (std::vector<int64_t>{0, 30}));
}

TEST_F(RowReaderTest, DoesNotMixRowsOfDifferentFingerprints) {
  server_.on_stream = [&](int number, StreamScript& script) {
    if (number > 0) return script.ServeAll("weights-b cpu");
    if (!script.ReadOpen()) return grpc::Status::CANCELLED;
    script.Accept(100, kFingerprint);
    if (!script.ReadIds()) return grpc::Status::CANCELLED;
    script.Rows(0, 30, 10);
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going away");
  };
  int64_t rows_read = 0;
  const absl::Status status = OpenAndReadAll(&rows_read);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_EQ(GetErrorInfo(status).reason, "MODEL_CHANGED");
  EXPECT_EQ(GetErrorInfo(status).value, "weights-b cpu");
  EXPECT_EQ(GetErrorInfo(status).limit, kFingerprint);
  EXPECT_NE(status.message().find("'weights-b cpu'"), absl::string_view::npos) << status;
  EXPECT_NE(status.message().find(kFingerprint), absl::string_view::npos) << status;
  EXPECT_EQ(rows_read, 30);
  EXPECT_EQ(server_.streams(), 8) << "another replica might have had the same";
  EXPECT_EQ(reader_->Next().status(), status);  // a failure stays
}

TEST_F(RowReaderTest, LooksForAReplicaWithTheSameFingerprint) {
  server_.on_stream = [&](int number, StreamScript& script) {
    if (number == 3) return script.ServeAll(kFingerprint);
    if (number > 0) return script.ServeAll("weights-b cpu");
    if (!script.ReadOpen()) return grpc::Status::CANCELLED;
    script.Accept(100, kFingerprint);
    if (!script.ReadIds()) return grpc::Status::CANCELLED;
    script.Rows(0, 30, 10);
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going away");
  };
  EXPECT_TRUE(OpenAndReadAll().ok());
  EXPECT_EQ(reader_->shape().fingerprint, kFingerprint);
}

TEST_F(RowReaderTest, AnotherReplicaMayDoAllOfItAsLongAsThereIsNoRow) {
  server_.on_stream = [&](int number, StreamScript& script) {
    if (number > 0) return script.ServeAll("weights-b cpu");
    if (!script.ReadOpen()) return grpc::Status::CANCELLED;
    script.Accept(100, kFingerprint);
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going away");
  };
  EXPECT_TRUE(OpenAndReadAll().ok());
  EXPECT_EQ(reader_->shape().fingerprint, "weights-b cpu");
}

TEST_F(RowReaderTest, NoticesDamagedRows) {
  server_.on_stream = [&](int, StreamScript& script) {
    if (!script.ReadOpen()) return grpc::Status::CANCELLED;
    script.Accept(100, kFingerprint);
    if (!script.ReadIds()) return grpc::Status::CANCELLED;
    script.Rows(0, 20, 10);
    v1::EncodeStreamResponse chunk = script.MakeChunk(20, 30);
    (*chunk.mutable_chunk()->mutable_embeddings()->mutable_data())[17] ^= 1;
    script.Send(chunk);
    script.Rows(30, 100, 10);
    script.Done(100, kFingerprint);
    return grpc::Status::OK;
  };
  int64_t rows_read = 0;
  const absl::Status status = OpenAndReadAll(&rows_read);
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_EQ(rows_read, 20);
  EXPECT_EQ(server_.streams(), 1);
}

TEST_F(RowReaderTest, NoticesRowsThatAreMissingRepeatedOrTooMany) {
  const std::vector<std::function<void(StreamScript&)>> spoil = {
      [](StreamScript& script) { script.Rows(11, 100, 10); },
      [](StreamScript& script) { script.Rows(9, 100, 10); },
      [](StreamScript& script) { script.Rows(10, 101, 91); },
      [](StreamScript& script) { script.Rows(10, 90, 10); },
  };
  for (size_t i = 0; i < spoil.size(); ++i) {
    server_.on_stream = [&](int, StreamScript& script) {
      if (!script.ReadOpen()) return grpc::Status::CANCELLED;
      script.Accept(100, kFingerprint);
      if (!script.ReadIds()) return grpc::Status::CANCELLED;
      script.Rows(0, 10, 10);
      spoil[i](script);
      script.Done(100, kFingerprint);
      return grpc::Status::OK;
    };
    EXPECT_TRUE(absl::IsDataLoss(OpenAndReadAll())) << i;
  }
}

TEST_F(RowReaderTest, AStreamThatEndsWithoutDoneIsAnError) {
  server_.on_stream = [&](int, StreamScript& script) {
    if (!script.ReadOpen()) return grpc::Status::CANCELLED;
    script.Accept(100, kFingerprint);
    if (!script.ReadIds()) return grpc::Status::CANCELLED;
    script.Rows(0, 100, 10);
    return grpc::Status::OK;
  };
  EXPECT_TRUE(absl::IsInternal(OpenAndReadAll()));
}

v1::EncodeStreamResponse Failed(int code, const std::string& reason) {
  v1::EncodeStreamResponse message;
  message.mutable_failed()->set_code(code);
  message.mutable_failed()->set_reason(reason);
  message.mutable_failed()->set_message("refused");
  return message;
}

TEST_F(RowReaderTest, ARefusedRequestSendsNoIds) {
  int64_t pieces = -1;
  server_.on_stream = [&](int, StreamScript& script) {
    if (!script.ReadOpen()) return grpc::Status::CANCELLED;
    script.Send(Failed(3, "SEQUENCE_TOO_LONG"));
    script.ReadIds();
    pieces = script.data_messages;
    return grpc::Status::OK;
  };
  const absl::Status status = OpenAndReadAll();
  server_.server()->Shutdown();  // so that the handler has returned
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_EQ(GetErrorInfo(status).reason, "SEQUENCE_TOO_LONG");
  EXPECT_EQ(pieces, 0);
  EXPECT_EQ(server_.streams(), 1);
}

TEST_F(RowReaderTest, HearsWhyARequestFailedWhileItStillSendsIds) {
  ids_.assign(4 << 20, 999);  // 8 MiB: more than the flow-control window takes unread
  server_.on_stream = [&](int, StreamScript& script) {
    if (!script.ReadOpen()) return grpc::Status::CANCELLED;
    script.Accept(1, kFingerprint);
    script.Send(Failed(4, "DEADLINE_EXPIRED"));
    return grpc::Status::OK;
  };
  const absl::Status status = OpenAndReadAll();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_EQ(GetErrorInfo(status).reason, "DEADLINE_EXPIRED");
}

TEST_F(RowReaderTest, WaitsAsLongAsAFullServerAsks) {
  server_.on_stream = [&](int number, StreamScript& script) {
    if (number >= 2) return script.ServeAll(kFingerprint);
    if (!script.ReadOpen()) return grpc::Status::CANCELLED;
    v1::EncodeStreamResponse failed = Failed(8, "QUEUE_FULL");
    failed.mutable_failed()->mutable_retry_after()->set_nanos(1'000'000);
    script.Send(failed);
    return grpc::Status::OK;
  };
  EXPECT_TRUE(OpenAndReadAll().ok());
  EXPECT_EQ(server_.streams(), 3);
}

TEST_F(RowReaderTest, RefusedTwiceByReplicasThatDrainItWaitsForTheirPortsToClose) {
  std::vector<std::chrono::steady_clock::time_point> attempts;
  server_.on_stream = [&](int number, StreamScript& script) {
    attempts.push_back(std::chrono::steady_clock::now());
    if (number >= 2) return script.ServeAll(kFingerprint);
    if (!script.ReadOpen()) return grpc::Status::CANCELLED;
    script.Send(Failed(14, "DRAINING"));
    return grpc::Status::OK;
  };
  EXPECT_TRUE(OpenAndReadAll().ok());
  ASSERT_EQ(attempts.size(), 3u);
  // Less the jitter; any other wait is a hundredth of it.
  EXPECT_GE(attempts[2] - attempts[1], 0.8 * kDrainingBackoff);
}

TEST_F(RowReaderTest, DoesNotComeBackUnasked) {
  server_.on_stream = [&](int, StreamScript& script) {
    if (!script.ReadOpen()) return grpc::Status::CANCELLED;
    script.Send(Failed(8, "DEADLINE_UNMEETABLE"));
    return grpc::Status::OK;
  };
  EXPECT_EQ(OpenAndReadAll().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(server_.streams(), 1);
}

TEST_F(RowReaderTest, GivesUpAfterFourAttemptsWithoutARow) {
  server_.on_stream = [&](int, StreamScript&) {
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "loading");
  };
  const absl::Status status = OpenAndReadAll();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(status.message(), "loading");
  EXPECT_EQ(server_.streams(), 4);
}

TEST_F(RowReaderTest, GivesUpWhenNothingMoreComes) {
  server_.on_stream = [&](int number, StreamScript& script) {
    if (number == 0) {
      if (!script.ReadOpen()) return grpc::Status::CANCELLED;
      script.Accept(100, kFingerprint);
      if (!script.ReadIds()) return grpc::Status::CANCELLED;
      script.Rows(0, 30, 10);
    }
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "going away");
  };
  EXPECT_TRUE(absl::IsUnavailable(OpenAndReadAll()));
  EXPECT_EQ(server_.streams(), 8);
}

TEST_F(RowReaderTest, AnotherErrorIsNotRetried) {
  server_.on_stream = [&](int, StreamScript& script) {
    if (!script.ReadOpen()) return grpc::Status::CANCELLED;
    return OurFault("broken");
  };
  const absl::Status status = OpenAndReadAll();
  EXPECT_TRUE(absl::IsInternal(status));
  EXPECT_EQ(status.message(), "broken");
  EXPECT_EQ(server_.streams(), 1);
}

// The server has sent some rows and waits for the client to leave.
grpc::Status SendSomeAndWait(StreamScript& script) {
  if (!script.ReadOpen()) return grpc::Status::CANCELLED;
  script.Accept(100, kFingerprint);
  if (!script.ReadIds()) return grpc::Status::CANCELLED;
  script.Rows(0, 30, 10);
  while (!script.context->IsCancelled()) std::this_thread::yield();
  return grpc::Status::CANCELLED;
}

TEST_F(RowReaderTest, CancelEndsAWaitingReader) {
  server_.on_stream = [](int, StreamScript& script) { return SendSomeAndWait(script); };
  auto reader = client_->OpenRows(ids_, options_);
  ASSERT_TRUE(reader.ok()) << reader.status();
  ASSERT_TRUE((*reader)->Next().ok());
  std::thread other([&] { (*reader)->Cancel(); });
  absl::Status status;
  while (status.ok()) status = (*reader)->Next().status();
  other.join();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_EQ(server_.streams(), 1);
}

TEST_F(RowReaderTest, DroppingAReaderFreesTheServer) {
  std::promise<void> left;
  server_.on_stream = [&](int, StreamScript& script) {
    const grpc::Status status = SendSomeAndWait(script);
    left.set_value();
    return status;
  };
  auto reader = client_->OpenRows(ids_, options_);
  ASSERT_TRUE(reader.ok()) << reader.status();
  reader->reset();
  left.get_future().wait();
  server_.server()->Shutdown();  // the handler has returned before its promise goes
}

class CountingHandler : public RowHandler {
 public:
  absl::Status OnAccepted(const StreamShape& shape) override {
    announced = shape.total_rows;
    return absl::OkStatus();
  }
  absl::Status OnRows(const RowView& rows) override {
    seen += rows.rows;
    return seen >= stop_at ? absl::AbortedError("enough") : absl::OkStatus();
  }
  void OnProgress(double fraction) override { progress.push_back(fraction); }

  int64_t announced = 0;
  int64_t seen = 0;
  int64_t stop_at = 1000;
  std::vector<double> progress;
};

TEST_F(RowReaderTest, HandlersGetShapeRowsAndProgress) {
  CountingHandler handler;
  const auto done = client_->EncodeStream(ids_, options_, handler);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->total_rows(), 100);
  EXPECT_EQ(handler.announced, 100);
  EXPECT_EQ(handler.seen, 100);
  EXPECT_EQ(handler.progress, (std::vector<double>{0.5}));
}

TEST_F(RowReaderTest, AHandlerCanEndTheCall) {
  CountingHandler handler;
  handler.stop_at = 14;
  const auto done = client_->EncodeStream(ids_, options_, handler);
  EXPECT_TRUE(absl::IsAborted(done.status())) << done.status();
  EXPECT_EQ(handler.seen, 14);
}

TEST_F(RowReaderTest, GoesOnWhereAnEarlierReaderEnded) {
  const StreamStart start = {.first_row = 60,
                             .shape = {.total_rows = 100, .dim = 16, .fingerprint = kFingerprint}};
  auto reader = client_->OpenRows(ids_, options_, {}, start);
  ASSERT_TRUE(reader.ok()) << reader.status();
  int64_t next = 60;
  while (true) {
    const auto rows = (*reader)->Next();
    ASSERT_TRUE(rows.ok()) << rows.status();
    if (rows->rows == 0) break;
    EXPECT_EQ(rows->first_row, next);
    EXPECT_EQ(rows->values[0], ExpectedValue(ids_, next, 0));
    next += rows->rows;
  }
  EXPECT_EQ(next, 100);
  EXPECT_EQ((*reader)->resumes(), 0);
}

TEST_F(RowReaderTest, DoesNotGoOnWithRowsOfOtherWeights) {
  for (const StreamShape& other :
       {StreamShape{.total_rows = 100, .dim = 16, .fingerprint = "weights-b cpu"},
        StreamShape{.total_rows = 90, .dim = 16, .fingerprint = kFingerprint}}) {
    const auto reader = client_->OpenRows(ids_, options_, {}, {.first_row = 60, .shape = other});
    EXPECT_EQ(GetErrorInfo(reader.status()).reason, "MODEL_CHANGED") << reader.status();
  }
}

}  // namespace
}  // namespace longwave::client
