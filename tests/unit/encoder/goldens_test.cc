#include "model/encoder/goldens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tests/unit/encoder/encode.h"
#include "tests/unit/encoder/reference_tolerance.h"

namespace longwave {
namespace {

using testing::HasSubstr;

GoldenVector MakeGolden(const ModelFolder& folder, int64_t n, OutputSpec output,
                        std::vector<int64_t> rows) {
  GoldenVector golden;
  golden.token_ids = RandomTokens(n, folder.config.vocab_size, static_cast<uint32_t>(n));
  const ReferenceResult reference = ReferenceEncode(folder, golden.token_ids, output);
  const int64_t dim = static_cast<int64_t>(reference.values.size()) / output.RowCount(n);
  for (const int64_t row : rows) {
    golden.values.insert(golden.values.end(), reference.values.begin() + row * dim,
                         reference.values.begin() + (row + 1) * dim);
  }
  golden.output = std::move(output);
  golden.rows = std::move(rows);
  golden.tolerance = reference.tolerance;
  return golden;
}

// Pooled and rows, one token and enough for several blocks of every kind.
ModelFolder ModelWithGoldens() {
  ModelFolder folder = RandomModel(SmallConfig(), 21);
  folder.serving.goldens = {
      MakeGolden(folder, 1, {.pooling = Pooling::kMean}, {0}),
      MakeGolden(folder, 70, {.pooling = Pooling::kMean, .normalize = true}, {0}),
      MakeGolden(folder, 300, {.pooling = Pooling::kRows, .layers = {0, 1, 2, 3}}, {0, 150, 299}),
  };
  return folder;
}

TEST(VerifyGoldens, AcceptsWhatTheReferenceComputed) {
  const ModelFolder folder = ModelWithGoldens();
  const auto encoder = MakeEncoder(folder);
  EXPECT_EQ(VerifyGoldens(*encoder, folder.serving), absl::OkStatus());
}

TEST(VerifyGoldens, RefusesAModelWithAnyTensorPerturbed) {
  const ModelFolder folder = ModelWithGoldens();
  for (const auto& [name, tensor] : folder.weights) {
    ModelFolder perturbed = folder;
    double squares = 0;
    for (const float value : tensor.values) squares += static_cast<double>(value) * value;
    const double rms = std::sqrt(squares / static_cast<double>(tensor.values.size()));
    // Random signs: a shift that is the same for all channels would be undone by the next norm.
    std::mt19937 random(7);
    for (float& value : perturbed.weights.at(name).values) {
      value += static_cast<float>(random() % 2 == 0 ? 0.05 * rms : -0.05 * rms);
    }
    const absl::Status status = VerifyGoldens(*MakeEncoder(perturbed), folder.serving);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << name << ": " << status;
  }
}

TEST(VerifyGoldens, NamesGoldenRouteDifferenceAndTolerance) {
  ModelFolder folder = ModelWithGoldens();
  const auto encoder = MakeEncoder(folder);
  GoldenVector& golden = folder.serving.goldens[1];
  golden.values[3] += 0.25;
  golden.tolerance = 0.125;
  const std::string message(VerifyGoldens(*encoder, folder.serving).message());
  EXPECT_THAT(message, HasSubstr("golden 1 (70 tokens) by route"));
  EXPECT_THAT(message, HasSubstr(std::string(RouteName(encoder->Info().routes.front()))));
  EXPECT_THAT(message, HasSubstr("worst difference 0.2"));
  EXPECT_THAT(message, HasSubstr("tolerance 0.125"));
}

TEST(VerifyGoldens, RefusesValuesThatDoNotFitTheOutput) {
  ModelFolder folder = ModelWithGoldens();
  const auto encoder = MakeEncoder(folder);
  ServingConfig short_values = folder.serving;
  short_values.goldens[0].values.pop_back();
  EXPECT_FALSE(VerifyGoldens(*encoder, short_values).ok());
  ServingConfig wrong_row = folder.serving;
  wrong_row.goldens[2].rows[0] = 300;
  EXPECT_FALSE(VerifyGoldens(*encoder, wrong_row).ok());
  ServingConfig not_a_number = folder.serving;
  not_a_number.goldens[0].values[0] = std::nan("");
  EXPECT_FALSE(VerifyGoldens(*encoder, not_a_number).ok());
}

TEST(VerifyGoldens, AnInputThatTheModelDoesNotTakeIsAnError) {
  ModelFolder folder = ModelWithGoldens();
  const auto encoder = MakeEncoder(folder);
  folder.serving.goldens[0].token_ids = {1'000'000};
  EXPECT_FALSE(VerifyGoldens(*encoder, folder.serving).ok());
}

}  // namespace
}  // namespace longwave
