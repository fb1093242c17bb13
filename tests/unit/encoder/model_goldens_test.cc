// Every test model, as it lies on disk, reproduces the goldens that the numpy twin computed, by
// every route; and one that was changed by as little as its maker tried is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "model/encoder/goldens.h"
#include "model/weights/model_folder.h"
#include "tests/unit/encoder/encode.h"

namespace longwave {
namespace {

std::vector<std::string> ModelNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(LONGWAVE_MODELS_DIR)) {
    // The default model is larger than a unit test should be: the integration tests start it.
    if (entry.path().filename() != "default") names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

ModelFolder Load(const std::string& name) {
  auto folder = LoadModelFolder(std::string(LONGWAVE_MODELS_DIR) + "/" + name);
  EXPECT_TRUE(folder.ok()) << folder.status();
  return *std::move(folder);
}

TEST(ModelGoldens, TheTestModelsWereMade) { EXPECT_GE(ModelNames().size(), 14u); }

TEST(ModelGoldens, EveryModelReproducesThemByEveryRoute) {
  for (const std::string& name : ModelNames()) {
    const ModelFolder folder = Load(name);
    EXPECT_FALSE(folder.serving.goldens.empty()) << name;
    EXPECT_EQ(VerifyGoldens(*MakeEncoder(folder), folder.serving), absl::OkStatus()) << name;
  }
}

// The maker asserts that noise of 1e-3 of a tensor's root mean square moves some golden by three
// tolerances. Three times that noise is far enough beyond to be noticed by another draw too.
TEST(ModelGoldens, AnyTensorThatIsPerturbedIsNoticed) {
  const ModelFolder folder = Load("tiny_t5");
  for (const auto& [name, tensor] : folder.weights) {
    ModelFolder perturbed = folder;
    double squares = 0;
    for (const float value : tensor.values) squares += static_cast<double>(value) * value;
    const double rms = std::sqrt(squares / static_cast<double>(tensor.values.size()));
    std::mt19937 random(3);
    std::normal_distribution<double> noise(0, 3e-3 * rms);
    for (float& value : perturbed.weights.at(name).values) {
      value += static_cast<float>(noise(random));
    }
    const absl::Status status = VerifyGoldens(*MakeEncoder(perturbed), folder.serving);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << name << ": " << status;
  }
}

}  // namespace
}  // namespace longwave
