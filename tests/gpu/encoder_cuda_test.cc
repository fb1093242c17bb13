// The encoder on the device: near the double encoder in every compute type, and a sequence's bits
// do not depend on its mates. Until this has passed on a card replies say deterministic = false.
#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/encoder/compute_type.h"
#include "tests/gpu/device_fixture.h"
#include "tests/unit/encoder/encode.h"
#include "tests/unit/encoder/reference_tolerance.h"

namespace longwave {
namespace {

const OutputSpec kAllRows{.pooling = Pooling::kRows};

class EncoderCudaTest : public DeviceTest {
 protected:
  static std::unique_ptr<TransformerEncoder> Make(const ModelFolder& folder,
                                                  const std::string& compute_dtype) {
    auto encoder =
        TransformerEncoder::Create(folder, {.device = "cuda:0", .compute_dtype = compute_dtype});
    EXPECT_TRUE(encoder.ok()) << encoder.status();
    return *std::move(encoder);
  }
  static std::vector<std::string> Types() { return {"fp32", "tf32", "bf16"}; }
  // Beside the plain one a model with n-grams, hashed on the host and embedded on the device.
  static std::vector<ModelConfig> Configs() {
    ModelConfig ngrams = SmallConfig();
    ngrams.ngrams = {.sizes = {2, 3, 16}, .buckets = 1000, .dim = 20};
    return {SmallConfig(), ngrams};
  }
  static void ExpectTheReference(const ModelFolder& folder, const std::string& type) {
    const auto encoder = Make(folder, type);
    EXPECT_EQ(encoder->Info().compute_dtype, type);
    const double factor = ToleranceFactor(*ParseComputeType(type), folder.config.hidden_size);
    for (const int64_t n : {1, 65, 300}) {
      const auto tokens = RandomTokens(n, folder.config.vocab_size, static_cast<uint32_t>(n));
      const ReferenceResult expected = ReferenceEncode(folder, tokens, kAllRows);
      for (const Route route : encoder->Info().routes) {
        const std::vector<float> actual = EncodeOne(*encoder, tokens, kAllRows, route);
        ASSERT_EQ(actual.size(), expected.values.size());
        for (size_t i = 0; i < actual.size(); ++i) {
          ASSERT_NEAR(actual[i], expected.values[i], expected.tolerance * factor)
              << type << " " << RouteName(route) << " n = " << n << " value " << i;
        }
      }
    }
  }
  static void ExpectSameBitsInAnyCompany(const ModelFolder& folder, const std::string& type) {
    const std::vector<int64_t> lengths = {1,   2,   31,   63,   64,   65,   127,  128,  129,
                                          500, 700, 1024, 2047, 2048, 2049, 3000, 4096, 4097};
    const std::vector<int32_t> text = RandomTokens(4097, folder.config.vocab_size, 3);
    const auto beginning = [&](int64_t length) {
      return std::vector<int32_t>(text.begin(), text.begin() + length);
    };
    const auto encoder = Make(folder, type);
    std::vector<std::vector<float>> alone;
    for (const int64_t length : lengths) {
      alone.push_back(EncodeOne(*encoder, beginning(length), kAllRows));
    }
    std::vector<size_t> order(lengths.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (uint32_t seed = 0; seed < 4; ++seed) {
      std::shuffle(order.begin(), order.end(), std::mt19937(seed));
      EncoderBatch batch;
      for (const size_t i : order) batch.Add(beginning(lengths[i]));
      const auto rows =
          Encode(*encoder, std::move(batch), std::vector<OutputSpec>(order.size(), kAllRows));
      ASSERT_EQ(rows.size(), order.size());
      for (size_t i = 0; i < order.size(); ++i) {
        ASSERT_EQ(rows[i], alone[order[i]]) << type << ", " << lengths[order[i]] << " tokens";
      }
    }
  }
};

TEST_F(EncoderCudaTest, AgreesWithTheReferenceInEveryComputeType) {
  for (const ModelConfig& config : Configs()) {
    const ModelFolder folder = RandomModel(config, 11);
    for (const std::string& type : Types()) ExpectTheReference(folder, type);
  }
}

TEST_F(EncoderCudaTest, ComputeTypesHaveFingerprintsOfTheirOwn) {
  const ModelFolder folder = RandomModel(OneLayerConfig(), 1);
  std::vector<std::string> fingerprints;
  for (const std::string& type : Types()) {
    fingerprints.push_back(Make(folder, type)->Info().fingerprint);
  }
  std::sort(fingerprints.begin(), fingerprints.end());
  EXPECT_EQ(std::unique(fingerprints.begin(), fingerprints.end()), fingerprints.end());
}

// batch_invariance: lengths around row tiles (2048), blocks and buckets, in any company.
TEST_F(EncoderCudaTest, BitsDoNotDependOnMates) {
  for (const ModelConfig& config : Configs()) {
    const ModelFolder folder = RandomModel(config, 2);
    for (const std::string& type : Types()) ExpectSameBitsInAnyCompany(folder, type);
  }
}

}  // namespace
}  // namespace longwave
