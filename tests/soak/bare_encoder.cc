// longwave-bare-encoder: what an encoder does with nothing around it, as the measure of what the
// server adds: that of a model, or a FakeEncoder that sleeps. One JSON object: median seconds of
// one sequence, and the best tokens a second over batches of 1, 2, 4 and 8 of them, as a server may
// form.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "model/api/fake_encoder.h"
#include "model/base/clock.h"
#include "model/encoder/transformer_encoder.h"
#include "model/weights/model_folder.h"

namespace longwave {
namespace {

class NullSink final : public RowSink {
 public:
  Answer Offer(int, int64_t, RowBlock) override { return Answer::kTaken; }
  void Finish(int, const SequenceReport&) override {}
  void Fail(int, absl::Status status) override { failed_ = std::move(status); }
  const absl::Status& failed() const { return failed_; }

 private:
  absl::Status failed_;
};

EncoderBatch MakeBatch(int sequences, int64_t tokens) {
  EncoderBatch batch;
  batch.offsets = {0};
  for (int s = 0; s < sequences; ++s) {
    for (int64_t i = 0; i < tokens; ++i) {
      batch.token_ids.push_back(static_cast<int32_t>((s * 31 + i * 131 + 7) % 256));
    }
    batch.offsets.push_back(static_cast<int64_t>(batch.token_ids.size()));
  }
  return batch;
}

absl::StatusOr<double> EncodeSeconds(Encoder& encoder, int sequences, int64_t tokens) {
  const SteadyClock clock;
  OutputSpec output;
  output.pooling = encoder.Info().default_pooling;
  output.normalize = encoder.Info().default_normalize;
  NullSink sink;
  EncoderBatch batch = MakeBatch(sequences, tokens);
  const Instant begin = clock.Now();
  auto job = encoder.Begin(std::move(batch), std::vector<OutputSpec>(sequences, output), &sink);
  if (!job.ok()) return job.status();
  while (true) {
    const auto state = (*job)->Step();
    if (!state.ok()) return state.status();
    if (*state == EncodeJob::State::kDone) break;
  }
  if (!sink.failed().ok()) return sink.failed();
  return ToSeconds(clock.Now() - begin);
}

// Median of calls that fill `budget` seconds, five at least.
absl::StatusOr<double> MedianSeconds(Encoder& encoder, int sequences, int64_t tokens,
                                     double budget) {
  std::vector<double> samples;
  double spent = 0;
  while (spent < budget || samples.size() < 5) {
    const auto seconds = EncodeSeconds(encoder, sequences, tokens);
    if (!seconds.ok()) return seconds.status();
    samples.push_back(*seconds);
    spent += *seconds;
  }
  std::sort(samples.begin(), samples.end());
  return samples[samples.size() / 2];
}

// "fake:SECONDS_PER_TOKEN:TOKENS_PER_SLICE", null if it is not that; the server's script sets the
// same two and no base.
std::unique_ptr<Encoder> MakeFake(absl::string_view model) {
  const std::vector<absl::string_view> parts = absl::StrSplit(model, ':');
  FakeEncoderOptions options;
  options.pace = FakePace::kSleep;
  options.base_seconds = 0;
  if (parts.size() != 3 || parts[0] != "fake" ||
      !absl::SimpleAtod(parts[1], &options.seconds_per_token) ||
      !absl::SimpleAtoi(parts[2], &options.tokens_per_slice)) {
    return nullptr;
  }
  return std::make_unique<FakeEncoder>(options);
}

absl::StatusOr<std::unique_ptr<Encoder>> MakeEncoder(const std::string& model) {
  if (auto fake = MakeFake(model); fake != nullptr) return fake;
  if (absl::Status prepared = PrepareProcessForCompute("auto"); !prepared.ok()) return prepared;
  const auto folder = LoadModelFolder(model);
  if (!folder.ok()) return folder.status();
  auto encoder = TransformerEncoder::Create(*folder, {.device = "cpu"});
  if (!encoder.ok()) return encoder.status();
  if (absl::Status warm = (*encoder)->WarmUp(); !warm.ok()) return warm;
  return *std::move(encoder);
}

absl::Status Measure(const std::string& model, int64_t tokens, double seconds) {
  const absl::StatusOr<std::unique_ptr<Encoder>> encoder = MakeEncoder(model);
  if (!encoder.ok()) return encoder.status();
  double single = 0;
  double best_rate = 0;
  for (const int sequences : {1, 2, 4, 8}) {
    const auto median = MedianSeconds(**encoder, sequences, tokens, seconds / 4);
    if (!median.ok()) return median.status();
    if (sequences == 1) single = *median;
    best_rate = std::max(best_rate, sequences * tokens / *median);
  }
  std::printf("{\"tokens\": %lld, \"p50_seconds\": %.9g, \"tokens_per_second\": %.9g}\n",
              static_cast<long long>(tokens), single, best_rate);
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  int64_t tokens = 0;
  double seconds = 0;
  if (argc != 4 || !absl::SimpleAtoi(argv[2], &tokens) || tokens < 1 ||
      !absl::SimpleAtod(argv[3], &seconds) || !(seconds > 0)) {
    std::fprintf(stderr,
                 "usage: longwave-bare-encoder MODEL|fake:SECONDS_PER_TOKEN:TOKENS_PER_SLICE "
                 "TOKENS SECONDS\n");
    return 2;
  }
  const absl::Status measured = Measure(argv[1], tokens, seconds);
  if (measured.ok()) return 0;
  std::fprintf(stderr, "longwave-bare-encoder: %s\n", std::string(measured.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace longwave

int main(int argc, char** argv) { return longwave::Main(argc, argv); }
