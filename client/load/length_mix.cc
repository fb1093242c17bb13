#include "client/load/length_mix.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace longwave::load {
namespace {

constexpr uint32_t kLongest = 1 << 20;
// The share of short calls in the form that load tests mean by "bimodal".
constexpr double kBimodalShort = 0.95;

absl::Status BadMix() {
  return absl::InvalidArgumentError(
      "is none of N, N:WEIGHT+N:WEIGHT, bimodal:SHORT:LONG, lognormal:MEDIAN:SIGMA[:LONGEST], "
      "uniform:SHORTEST:LONGEST, with 1 to 1048576 tokens");
}

bool ParseTokens(absl::string_view text, uint32_t* tokens) {
  return absl::SimpleAtoi(text, tokens) && *tokens >= 1 && *tokens <= kLongest;
}

bool ParsePositive(absl::string_view text, double* value) {
  return absl::SimpleAtod(text, value) && *value > 0 && std::isfinite(*value);
}

}  // namespace

absl::StatusOr<LengthMix> LengthMix::Parse(absl::string_view text) {
  LengthMix mix;
  mix.text_ = std::string(text);
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ':');
  if (parts[0] == "bimodal") {
    uint32_t tokens[2];
    if (parts.size() != 3 || !ParseTokens(parts[1], &tokens[0]) ||
        !ParseTokens(parts[2], &tokens[1])) {
      return BadMix();
    }
    mix.weights_ = {{tokens[0], kBimodalShort}, {tokens[1], 1.0}};
  } else if (parts[0] == "lognormal") {
    mix.kind_ = Kind::kLogNormal;
    mix.longest_ = kLongest;
    if (parts.size() < 3 || parts.size() > 4 || !ParsePositive(parts[1], &mix.median_) ||
        !ParsePositive(parts[2], &mix.sigma_) || mix.median_ > kLongest || mix.sigma_ > 10 ||
        (parts.size() == 4 && !ParseTokens(parts[3], &mix.longest_))) {
      return BadMix();
    }
  } else if (parts[0] == "uniform") {
    mix.kind_ = Kind::kUniform;
    if (parts.size() != 3 || !ParseTokens(parts[1], &mix.shortest_) ||
        !ParseTokens(parts[2], &mix.longest_) || mix.shortest_ > mix.longest_) {
      return BadMix();
    }
  } else if (absl::Status set = mix.SetWeights(text); !set.ok()) {
    return set;
  }
  return mix;
}

absl::Status LengthMix::SetWeights(absl::string_view list) {
  double sum = 0;
  for (const absl::string_view part : absl::StrSplit(list, '+')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(part, ':');
    uint32_t tokens = 0;
    double weight = 1;
    if (fields.size() > 2 || !ParseTokens(fields[0], &tokens) ||
        (fields.size() == 2 && !ParsePositive(fields[1], &weight))) {
      return BadMix();
    }
    sum += weight;
    weights_.push_back({tokens, sum});
  }
  for (Weighted& weighted : weights_) weighted.up_to /= sum;
  weights_.back().up_to = 1;
  return absl::OkStatus();
}

uint32_t LengthMix::Draw(Random& random) const {
  if (kind_ == Kind::kLogNormal) {
    const double tokens = median_ * std::exp(sigma_ * random.Normal());
    return static_cast<uint32_t>(
        std::clamp(std::round(tokens), 1.0, static_cast<double>(longest_)));
  }
  const double place = random.Uniform();
  if (kind_ == Kind::kUniform) {
    return shortest_ + static_cast<uint32_t>(place * (1.0 + longest_ - shortest_));
  }
  for (const Weighted& weighted : weights_) {
    if (place < weighted.up_to) return weighted.tokens;
  }
  return weights_.back().tokens;
}

uint32_t LengthMix::longest() const {
  uint32_t longest = longest_;
  for (const Weighted& weighted : weights_) longest = std::max(longest, weighted.tokens);
  return longest;
}

}  // namespace longwave::load
