// Calls replicas of longwave-fake-server through longwave::client and checks every value that comes
// back; for replicas_test.py and the soak. Runs until standard input ends, then prints one line of
// JSON:
//
//   replica_client --target=ipv4:127.0.0.1:1,127.0.0.1:2 --unary=4 --streams=2
//
// Unary calls carry 1 MiB of ids, so that gRPC's default retry buffer would not hold them. Streams
// read slowly, so that most of them are under way when a replica goes.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/client.h"
#include "model/api/fake_encoder.h"

namespace longwave {
namespace {

using Clock = std::chrono::steady_clock;
using client::EncodeOptions;

struct Options {
  client::ClientOptions client;
  int unary = 4;
  int streams = 2;
  int64_t unary_tokens = 1 << 20;  // a byte each
  int64_t stream_tokens = 200'000;
  double stream_seconds = 0.5;  // at least, by reading slowly
  double timeout_seconds = 30;
};

// What all calls together came to.
class Tally {
 public:
  void Count(const std::string& kind, const absl::Status& status, double seconds, int resumes = 0) {
    std::lock_guard<std::mutex> lock(mutex_);
    nlohmann::json& entry = kinds_[kind];
    if (entry.is_null()) entry = {{"ok", 0}, {"failed", 0}, {"max_seconds", 0.0}, {"resumes", 0}};
    entry[status.ok() ? "ok" : "failed"] = entry[status.ok() ? "ok" : "failed"].get<int>() + 1;
    entry["max_seconds"] = std::max(entry["max_seconds"].get<double>(), seconds);
    entry["resumes"] = entry["resumes"].get<int>() + resumes;
    entry["most_resumes"] = std::max(entry.value("most_resumes", 0), resumes);
    if (!status.ok() && errors_.size() < 20) {
      errors_.push_back(absl::StrCat(kind, ": ", status.ToString()));
    }
  }
  void Wrong(const std::string& what) {
    std::lock_guard<std::mutex> lock(mutex_);
    ++wrong_;
    if (errors_.size() < 20) errors_.push_back("wrong: " + what);
  }
  void Fingerprint(const std::string& fingerprint) {
    std::lock_guard<std::mutex> lock(mutex_);
    fingerprints_.insert(fingerprint);
  }
  std::string Json() {
    std::lock_guard<std::mutex> lock(mutex_);
    return nlohmann::json({{"kinds", kinds_},
                           {"wrong", wrong_},
                           {"errors", errors_},
                           {"fingerprints", fingerprints_}})
        .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }

 private:
  std::mutex mutex_;
  std::map<std::string, nlohmann::json> kinds_;
  int64_t wrong_ = 0;
  std::vector<std::string> errors_;
  std::set<std::string> fingerprints_;
};

std::vector<uint32_t> RandomIds(int64_t count, uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::vector<uint32_t> ids(count);
  for (int64_t i = 0; i < count; i += 8) {
    uint64_t bits = generator();
    for (int64_t j = i; j < std::min(i + 8, count); ++j, bits >>= 8) ids[j] = bits & 0xff;
  }
  return ids;
}

std::vector<float> Expected(const std::vector<uint32_t>& ids, Pooling pooling) {
  OutputSpec output;
  output.pooling = pooling;
  output.normalize = false;
  const std::vector<int32_t> signed_ids(ids.begin(), ids.end());
  return ExpectedFakeRows(FakeEncoderInfo(), signed_ids, output);
}

EncodeOptions CallOptions(const Options& options, v1::Pooling pooling) {
  EncodeOptions call;
  call.pooling = pooling;
  call.normalize = false;
  call.timeout = absl::Seconds(options.timeout_seconds);
  return call;
}

void CallUnary(const Options& options, client::Client& client, uint64_t seed, Tally& tally) {
  const std::vector<uint32_t> ids = RandomIds(options.unary_tokens, seed);
  const auto start = Clock::now();
  const auto result = client.Encode({ids}, CallOptions(options, v1::POOLING_MEAN));
  tally.Count("unary", result.status(),
              std::chrono::duration<double>(Clock::now() - start).count());
  if (!result.ok()) return;
  tally.Fingerprint(result->requests()[0].execution.fingerprint());
  const std::vector<float> expected = Expected(ids, Pooling::kMean);
  const auto row = result->row(0);
  if (!std::equal(row.begin(), row.end(), expected.begin(), expected.end())) {
    tally.Wrong("a unary answer belongs to another request");
  }
}

// Reads to the end; false: a value was not the one due.
absl::Status ReadSlowly(const Options& options, client::RowReader& reader,
                        const std::vector<float>& expected, Tally& tally) {
  const auto start = Clock::now();
  int64_t next = 0;
  while (true) {
    const auto rows = reader.Next();
    if (!rows.ok()) return rows.status();
    if (rows->rows == 0) break;
    const size_t offset = static_cast<size_t>(next * rows->dim);
    const bool due = rows->first_row == next && offset + rows->values.size() <= expected.size() &&
                     std::equal(rows->values.begin(), rows->values.end(),
                                expected.begin() + static_cast<int64_t>(offset));
    if (!due) tally.Wrong(absl::StrCat("rows from ", rows->first_row, " where ", next, " was due"));
    next += rows->rows;
    const double share = static_cast<double>(next) / static_cast<double>(options.stream_tokens);
    std::this_thread::sleep_until(
        start + std::chrono::duration_cast<Clock::duration>(
                    std::chrono::duration<double>(share * options.stream_seconds)));
  }
  if (next != options.stream_tokens) tally.Wrong("a stream ended without all of its rows");
  return absl::OkStatus();
}

void CallStream(const Options& options, client::Client& client, uint64_t seed, Tally& tally) {
  const std::vector<uint32_t> ids = RandomIds(options.stream_tokens, seed);
  const std::vector<float> expected = Expected(ids, Pooling::kRows);
  const auto start = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  auto reader = client.OpenRows(ids, CallOptions(options, v1::POOLING_NONE));
  if (!reader.ok()) return tally.Count("stream", reader.status(), seconds());
  const absl::Status status = ReadSlowly(options, **reader, expected, tally);
  tally.Count("stream", status, seconds(), (*reader)->resumes());
  if (status.ok()) tally.Fingerprint((*reader)->shape().fingerprint);
}

bool Parse(absl::string_view argument, Options& options) {
  const size_t equals = argument.find('=');
  if (equals == absl::string_view::npos || !absl::ConsumePrefix(&argument, "--")) return false;
  const absl::string_view name = argument.substr(0, equals - 2);
  const absl::string_view value = argument.substr(equals - 1);
  if (name == "target") {
    options.client.target = std::string(value);
    return true;
  }
  if (name == "timeout") return absl::SimpleAtod(value, &options.timeout_seconds);
  if (name == "stream_seconds") return absl::SimpleAtod(value, &options.stream_seconds);
  if (name == "unary") return absl::SimpleAtoi(value, &options.unary);
  if (name == "streams") return absl::SimpleAtoi(value, &options.streams);
  if (name == "unary_tokens") return absl::SimpleAtoi(value, &options.unary_tokens);
  if (name == "stream_tokens") return absl::SimpleAtoi(value, &options.stream_tokens);
  if (name == "retry_buffer") return absl::SimpleAtoi(value, &options.client.retry_buffer_bytes);
  if (name == "health_checked") {
    options.client.health_checked = value == "1";
    return true;
  }
  return false;
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    if (!Parse(argv[i], options)) {
      std::fprintf(stderr, "replica_client: not an option: %s\n", argv[i]);
      return 2;
    }
  }
  auto client = client::Client::Create(options.client);
  if (!client.ok()) {
    std::fprintf(stderr, "replica_client: %s\n", client.status().ToString().c_str());
    return 2;
  }
  Tally tally;
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> seed = 1;
  const auto repeat = [&](auto call) {
    return std::thread([&, call] {
      while (!stop) call(options, **client, seed.fetch_add(1), tally);
    });
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < options.unary; ++i) threads.push_back(repeat(CallUnary));
  for (int i = 0; i < options.streams; ++i) threads.push_back(repeat(CallStream));
  char byte = 0;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  std::puts(tally.Json().c_str());
  return 0;
}

}  // namespace
}  // namespace longwave

int main(int argc, char** argv) { return longwave::Main(argc, argv); }
