#include "tests/bench/encoder_run.h"

#include <random>
#include <utility>

#include "tests/bench/random_model.h"

namespace longwave {
namespace {

class CollectingSink final : public RowSink {
 public:
  explicit CollectingSink(int sequences) : values_(sequences) {}

  Answer Offer(int sequence, int64_t first_row, RowBlock rows) override {
    std::vector<float>& values = values_[sequence];
    values.insert(values.end(), rows.values.begin(), rows.values.end());
    return Answer::kTaken;
  }
  void Finish(int sequence, const SequenceReport& report) override {}
  void Fail(int sequence, absl::Status status) override { status_ = std::move(status); }

  std::vector<std::vector<float>> TakeValues() { return std::move(values_); }
  const absl::Status& status() const { return status_; }

 private:
  std::vector<std::vector<float>> values_;
  absl::Status status_;
};

}  // namespace

std::vector<int32_t> BenchIds(int64_t tokens, uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::vector<int32_t> ids(tokens);
  for (int32_t& id : ids) id = static_cast<int32_t>(generator() % 256);
  return ids;
}

absl::StatusOr<std::vector<std::vector<float>>> EncodeBatch(Encoder& encoder, EncoderBatch batch,
                                                            std::vector<OutputSpec> outputs) {
  CollectingSink sink(batch.sequences());
  auto job = encoder.Begin(std::move(batch), std::move(outputs), &sink);
  if (!job.ok()) return job.status();
  while (true) {
    const absl::StatusOr<EncodeJob::State> state = (*job)->Step();
    if (!state.ok()) return state.status();
    if (*state == EncodeJob::State::kDone) break;
  }
  if (!sink.status().ok()) return sink.status();
  return sink.TakeValues();
}

OutputSpec RowsOutput(absl::Span<const int64_t> rows) {
  OutputSpec output;
  output.pooling = Pooling::kRows;
  for (const int64_t row : rows) output.row_ranges.push_back({row, row + 1});
  return output;
}

absl::StatusOr<std::unique_ptr<TransformerEncoder>> MakeBenchEncoder(const BenchOptions& options,
                                                                     FeatureKind features) {
  TransformerEncoderOptions encoder_options;
  encoder_options.device = "cpu";
  encoder_options.threads = options.threads;
  return TransformerEncoder::Create(RandomModel(options, features), encoder_options);
}

}  // namespace longwave
