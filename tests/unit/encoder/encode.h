#ifndef LONGWAVE_TESTS_UNIT_ENCODER_ENCODE_H_
#define LONGWAVE_TESTS_UNIT_ENCODER_ENCODE_H_

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "model/encoder/transformer_encoder.h"
#include "tests/unit/api/collecting_sink.h"
#include "tests/unit/encoder/random_model.h"

namespace longwave {

inline std::unique_ptr<TransformerEncoder> MakeEncoder(const ModelFolder& folder, int threads = 2) {
  auto encoder = TransformerEncoder::Create(
      folder, TransformerEncoderOptions{.device = "cpu", .threads = threads});
  EXPECT_TRUE(encoder.ok()) << encoder.status();
  return *std::move(encoder);
}

// Encodes a batch to its end and returns every sequence's rows.
inline std::vector<std::vector<float>> Encode(Encoder& encoder, EncoderBatch batch,
                                              std::vector<OutputSpec> outputs) {
  CollectingSink sink;
  const int sequences = batch.sequences();
  auto job = encoder.Begin(std::move(batch), std::move(outputs), &sink);
  EXPECT_TRUE(job.ok()) << job.status();
  if (!job.ok()) return {};
  const auto state = RunJob(**job, 1'000'000);
  EXPECT_TRUE(state.ok()) << state.status();
  EXPECT_TRUE(!state.ok() || *state == EncodeJob::State::kDone);
  std::vector<std::vector<float>> rows;
  for (int s = 0; s < sequences; ++s) {
    const std::optional<absl::Status>& end = sink.result(s).end;
    EXPECT_TRUE(end.has_value() && end->ok())
        << "sequence " << s << ": " << (end.has_value() ? end->ToString() : "no end");
    rows.push_back(sink.result(s).values);
  }
  return rows;
}

inline std::vector<float> EncodeOne(Encoder& encoder, const std::vector<int32_t>& tokens,
                                    const OutputSpec& output, Route route = Route::kAuto) {
  EncoderBatch batch;
  batch.Add(tokens, route);
  std::vector<std::vector<float>> rows = Encode(encoder, std::move(batch), {output});
  return rows.empty() ? std::vector<float>() : std::move(rows[0]);
}

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_ENCODER_ENCODE_H_
