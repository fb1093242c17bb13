// Calls replicas of longwave-fake-server through longwave::client and checks every value that comes
// back; for replicas_test.py and the soak. Runs until standard input ends, then prints one line of
// JSON:
//
//   replica_client --target=ipv4:127.0.0.1:1,127.0.0.1:2 --unary=4 --streams=2
//
// Unary calls carry 1 MiB of ids, so that gRPC's default retry buffer would not hold them. Streams
// read slowly, so that most of them are under way when a replica goes. Batches are calls that
// travel as several requests. Models differ in their rows (FakeEncoderOptions::row_seed), so that
// rows tell which model they came from, whatever the reply says.
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
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/client.h"
#include "client/error_info.h"
#include "model/api/fake_encoder.h"

namespace longwave {
namespace {

using Clock = std::chrono::steady_clock;
using client::EncodeOptions;

struct Options {
  client::ClientOptions client;
  int unary = 4;
  int streams = 2;
  int batches = 0;
  int64_t unary_tokens = 1 << 20;  // a byte each
  int64_t stream_tokens = 200'000;
  double stream_seconds = 0.5;  // at least, by reading slowly
  int batch_sequences = 4;
  int64_t batch_tokens = 1 << 15;  // of each: a request by itself
  double timeout_seconds = 30;
  std::map<std::string, uint64_t> row_seeds = {{"fake-1", 0}};  // by fingerprint
};

// Of one call: the models that its replies named, and those that its rows were of.
struct Origins {
  std::set<std::string> models;
  bool strange = false;  // rows of no model
};

// What all calls together came to.
class Tally {
 public:
  static constexpr size_t kMostErrors = 20;

  void Count(const std::string& kind, const absl::Status& status, double seconds,
             int attempts = 1) {
    std::lock_guard<std::mutex> lock(mutex_);
    nlohmann::json& entry = kinds_[kind];
    if (entry.is_null()) {
      entry = {{"ok", 0},      {"failed", 0},      {"model_changed", 0}, {"max_seconds", 0.0},
               {"retries", 0}, {"most_retries", 0}};
    }
    const auto add = [&entry](const char* name, int more) {
      entry[name] = entry[name].get<int>() + more;
    };
    add(status.ok() ? "ok" : "failed", 1);
    const bool changed = client::GetErrorInfo(status).reason == "MODEL_CHANGED";
    if (changed) add("model_changed", 1);
    add("retries", attempts - 1);
    entry["most_retries"] = std::max(entry["most_retries"].get<int>(), attempts - 1);
    entry["max_seconds"] = std::max(entry["max_seconds"].get<double>(), seconds);
    // Apart, since where there are two models these are many, and expected.
    std::vector<std::string>& errors = changed ? changes_ : errors_;
    if (!status.ok() && errors.size() < kMostErrors) {
      errors.push_back(absl::StrCat(kind, ": ", status.ToString()));
    }
  }
  // To be called for every call that got rows, however it ended.
  void Judge(const std::string& kind, const absl::Status& status, const Origins& origins) {
    if (origins.strange) Wrong(absl::StrCat("a ", kind, " call got rows that no model has for it"));
    std::lock_guard<std::mutex> lock(mutex_);
    if (origins.models.size() > 1) {
      ++mixed_;
      errors_.push_back(absl::StrCat("mixed: a ", kind, " call got replies of ",
                                     absl::StrJoin(origins.models, " and ")));
    } else if (status.ok()) {
      for (const std::string& model : origins.models) ++fingerprints_[model];
    }
  }
  void Wrong(const std::string& what) {
    std::lock_guard<std::mutex> lock(mutex_);
    ++wrong_;
    if (errors_.size() < kMostErrors) errors_.push_back("wrong: " + what);
  }
  std::string Json() {
    std::lock_guard<std::mutex> lock(mutex_);
    return nlohmann::json({{"kinds", kinds_},
                           {"wrong", wrong_},
                           {"mixed", mixed_},
                           {"errors", errors_},
                           {"changes", changes_},
                           {"fingerprints", fingerprints_}})
        .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }

 private:
  std::mutex mutex_;
  std::map<std::string, nlohmann::json> kinds_;
  int64_t wrong_ = 0;
  int64_t mixed_ = 0;
  std::vector<std::string> errors_;              // texts, but for MODEL_CHANGED
  std::vector<std::string> changes_;             // texts of MODEL_CHANGED
  std::map<std::string, int64_t> fingerprints_;  // calls that ended well, by model
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

// The rows that one sequence is due, by each model.
class DueRows {
 public:
  DueRows(const Options& options, const std::vector<uint32_t>& ids, Pooling pooling)
      : row_seeds_(options.row_seeds), ids_(ids.begin(), ids.end()) {
    output_.pooling = pooling;
    output_.normalize = false;
  }

  // Values from `offset` on that a reply says `named` made.
  void Check(const std::string& named, size_t offset, absl::Span<const float> values,
             Origins* origins) {
    origins->models.insert(named);
    if (IsOf(named, offset, values)) return;
    for (const auto& [model, seed] : row_seeds_) {
      if (!IsOf(model, offset, values)) continue;
      origins->models.insert(model);
      return;
    }
    origins->strange = true;
  }

 private:
  bool IsOf(const std::string& model, size_t offset, absl::Span<const float> values) {
    const auto seed = row_seeds_.find(model);
    if (seed == row_seeds_.end()) return false;
    std::vector<float>& due = due_[model];
    if (due.empty()) due = ExpectedFakeRows(FakeEncoderInfo(), ids_, output_, seed->second);
    return offset + values.size() <= due.size() &&
           std::equal(values.begin(), values.end(), due.begin() + static_cast<int64_t>(offset));
  }

  const std::map<std::string, uint64_t>& row_seeds_;
  const std::vector<int32_t> ids_;
  OutputSpec output_;
  std::map<std::string, std::vector<float>> due_;  // as far as asked for
};

EncodeOptions CallOptions(const Options& options, v1::Pooling pooling) {
  EncodeOptions call;
  call.pooling = pooling;
  call.normalize = false;
  call.timeout = absl::Seconds(options.timeout_seconds);
  return call;
}

void CallEncode(const Options& options, client::Client& client, const std::string& kind,
                const std::vector<std::vector<uint32_t>>& sequences, Tally& tally) {
  const auto start = Clock::now();
  const std::vector<client::TokenSequence> views(sequences.begin(), sequences.end());
  const auto result = client.Encode(views, CallOptions(options, v1::POOLING_MEAN));
  tally.Count(kind, result.status(), std::chrono::duration<double>(Clock::now() - start).count());
  if (!result.ok()) return;
  Origins origins;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const int request = result->sequences()[i].request;
    const std::string& named = result->requests()[request].execution.fingerprint();
    DueRows(options, sequences[i], Pooling::kMean)
        .Check(named, 0, result->sequence_values(i), &origins);
  }
  tally.Judge(kind, result.status(), origins);
}

void CallUnary(const Options& options, client::Client& client, uint64_t seed, Tally& tally) {
  CallEncode(options, client, "unary", {RandomIds(options.unary_tokens, seed)}, tally);
}

void CallBatch(const Options& options, client::Client& client, uint64_t seed, Tally& tally) {
  std::vector<std::vector<uint32_t>> sequences;
  for (int i = 0; i < options.batch_sequences; ++i) {
    sequences.push_back(RandomIds(options.batch_tokens, (seed << 8) + i));
  }
  CallEncode(options, client, "batch", sequences, tally);
}

absl::Status ReadSlowly(const Options& options, client::RowReader& reader, DueRows due,
                        Origins* origins, Tally& tally) {
  const auto start = Clock::now();
  int64_t next = 0;
  while (true) {
    const auto rows = reader.Next();
    if (!rows.ok()) return rows.status();
    if (rows->rows == 0) break;
    if (rows->first_row != next) {
      tally.Wrong(absl::StrCat("rows from ", rows->first_row, " where ", next, " was due"));
    }
    due.Check(reader.shape().fingerprint, static_cast<size_t>(next * rows->dim), rows->values,
              origins);
    next += rows->rows;
    const double share = static_cast<double>(next) / static_cast<double>(options.stream_tokens);
    std::this_thread::sleep_until(
        start + std::chrono::duration_cast<Clock::duration>(
                    std::chrono::duration<double>(share * options.stream_seconds)));
  }
  if (next != options.stream_tokens) tally.Wrong("a stream ended without all of its rows");
  origins->models.insert(reader.summary().execution().fingerprint());
  return absl::OkStatus();
}

void CallStream(const Options& options, client::Client& client, uint64_t seed, Tally& tally) {
  const std::vector<uint32_t> ids = RandomIds(options.stream_tokens, seed);
  const auto start = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  auto reader = client.OpenRows(ids, CallOptions(options, v1::POOLING_NONE));
  if (!reader.ok()) return tally.Count("stream", reader.status(), seconds());
  Origins origins;
  const absl::Status status =
      ReadSlowly(options, **reader, DueRows(options, ids, Pooling::kRows), &origins, tally);
  tally.Count("stream", status, seconds(), (*reader)->attempts());
  tally.Judge("stream", status, origins);
}

// "fake-1:0,fake-2:2"
bool ParseRowSeeds(absl::string_view text, std::map<std::string, uint64_t>* row_seeds) {
  row_seeds->clear();
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const std::pair<std::string, std::string> entry = absl::StrSplit(part, absl::MaxSplits(':', 1));
    if (!absl::SimpleAtoi(entry.second, &(*row_seeds)[entry.first])) return false;
  }
  return true;
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
  if (name == "batches") return absl::SimpleAtoi(value, &options.batches);
  if (name == "row_seeds") return ParseRowSeeds(value, &options.row_seeds);
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
  for (int i = 0; i < options.batches; ++i) threads.push_back(repeat(CallBatch));
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
