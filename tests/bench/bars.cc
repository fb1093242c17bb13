#include "tests/bench/bars.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "absl/strings/str_format.h"

namespace longwave {
namespace {

constexpr bool kAtLeast = true;
constexpr bool kAtMost = false;

nlohmann::ordered_json NumberOrNull(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json();
}

size_t FewestRepeats(const std::vector<Samples>& samples) {
  size_t fewest = 0;
  for (const Samples& each : samples) {
    fewest = fewest == 0 ? each.repeats.size() : std::min(fewest, each.repeats.size());
  }
  return fewest;
}

}  // namespace

const std::vector<Bar>& AttentionBars() {
  static const auto* const kBars = new std::vector<Bar>{
      {"core_vs_sdpa_16k", "chunkwise core, T5 128, n 16384, times as fast as SDPA without bias",
       kAtLeast, 28},
      {"core_vs_floor_16k", "the same, seconds over its floor", kAtMost, 1.7},
      {"core_vs_sdpa_mask_4k", "the same at n 4096, against SDPA with the bias as mask", kAtLeast,
       8},
      {"core_vs_sdpa_1k", "the planner's route at n 1024, against SDPA without bias", kAtLeast,
       1.6},
      {"core_vs_textbook_fft_4k", "the same at n 4096, against the textbook FFT", kAtLeast, 120},
      {"core_linear", "seconds a token and head, 12 heads, n 4096 and 16384: largest over smallest",
       kAtMost, 1.15},
      {"core_linear_2_heads",
       "seconds a token and head, 2 heads, n 4096 to 1048576: largest over smallest", kAtMost,
       1.15},
      {"tiles_vs_floor_1k_m32", "tiles, free table, n 1024, m 32: seconds over their floor",
       kAtMost, 1.3},
      {"tiles_vs_floor_1k_m64", "tiles, free table, n 1024, m 64: seconds over their floor",
       kAtMost, 1.3},
      {"tiles_vs_sdpa_1k_m32", "the same, m 32, against SDPA without bias", kAtLeast, 1.1, 1.2},
      {"tiles_vs_sdpa_1k_m64", "the same, m 64, against SDPA without bias", kAtLeast, 0.85, 0.95},
      {"log_buckets_vs_clipped_64k",
       "log buckets that reach n 65536, 16 a side: cost over that of a bias clipped at 128",
       kAtMost, 4.5},
      {"fft_vs_textbook_64k", "FFT of a free table, n 65536, against the textbook FFT", kAtLeast,
       5},
      {"fft_memory_vs_textbook_64k", "the same, peak memory over the textbook's", kAtMost,
       1.0 / 20},
      {"interpolation_vs_tiles_64k", "interpolation, power-law bias, n 65536, against tiles",
       kAtLeast, 20},
      {"interpolation_certificate", "the same: measured error over what the certificate allows",
       kAtMost, 1},
      {"core_ragged",
       "lengths from 128 to 16384, log-uniform: seconds over those of as many tokens in equal "
       "lengths",
       kAtMost, 1.15}};
  return *kBars;
}

const std::vector<Bar>& EncoderBars() {
  static const auto* const kBars = new std::vector<Bar>{
      {"encoder_vs_softmax_8k", "6 layers, n 8192, against the same shape with SDPA softmax",
       kAtLeast, 4.0, 4.5},
      {"encoder_roof_8k", "the same, part of the roof: its operations at the rate of sgemm",
       kAtLeast, 0.8},
      {"encoder_vs_softmax_512", "the same at n 512", kAtLeast, 1.0},
      {"softmax_twin_vs_nn_512",
       "the softmax twin at n 512, against LibTorch's own encoder of that shape", kAtLeast, 0.95},
      {"encoder_linear",
       "seconds a token and layer, 6 layers, n 4096 and 16384: largest over smallest", kAtMost,
       1.15},
      {"encoder_linear_2_layers",
       "seconds a token and layer, 2 layers, n 4096 to 1048576: largest over smallest", kAtMost,
       1.15},
      {"encoder_ragged",
       "lengths from 128 to 16384, log-uniform: seconds over those of as many tokens in equal "
       "lengths",
       kAtMost, 1.15}};
  return *kBars;
}

namespace {

const Bar* FindBarOrNull(absl::string_view name) {
  for (const std::vector<Bar>* bars : {&AttentionBars(), &EncoderBars()}) {
    for (const Bar& bar : *bars) {
      if (bar.name == name) return &bar;
    }
  }
  return nullptr;
}

}  // namespace

bool IsBar(absl::string_view name) { return FindBarOrNull(name) != nullptr; }

const Bar& FindBar(absl::string_view name) {
  const Bar* const bar = FindBarOrNull(name);
  if (bar == nullptr) std::abort();
  return *bar;
}

bool Passes(const Bar& bar, double value) {
  return bar.at_least ? value >= bar.limit : value <= bar.limit;
}

nlohmann::ordered_json ToJson(const BarResult& result) {
  const Bar& bar = *result.bar;
  nlohmann::ordered_json line = {{"bar", std::string(bar.name)},
                                 {"what", std::string(bar.what)},
                                 {"value", NumberOrNull(result.value)},
                                 {"limit", bar.limit},
                                 {"direction", bar.at_least ? ">=" : "<="},
                                 {"pass", Passes(bar, result.value)},
                                 {"repeats", FewestRepeats(result.samples)},
                                 {"error", NumberOrNull(result.error)},
                                 {"reference", result.reference}};
  if (bar.aim != 0) line["aim"] = bar.aim;
  nlohmann::ordered_json medians = nlohmann::ordered_json::object();
  nlohmann::ordered_json warm_ups = nlohmann::ordered_json::object();
  double disagreement = 0;
  for (const Samples& each : result.samples) {
    medians[each.name] = each.Median();
    warm_ups[each.name] = each.warm_up;
    disagreement = std::max(disagreement, each.Disagreement());
  }
  line["seconds"] = std::move(medians);
  line["warm_up_seconds"] = std::move(warm_ups);
  const size_t repeats = FewestRepeats(result.samples);
  line["disagreement"] = repeats > 1 ? nlohmann::ordered_json(disagreement) : nullptr;
  if (repeats == 1) line["note"] = "one timed run: there is no repeat that it could disagree with";
  line.update(result.details);
  return line;
}

std::string ToLine(const BarResult& result) {
  const Bar& bar = *result.bar;
  return absl::StrFormat("%-4s %-28s %8.3f  (%s %.4g)  error %.1e  %d runs  %s",
                         Passes(bar, result.value) ? "ok" : "MISS", bar.name, result.value,
                         bar.at_least ? ">=" : "<=", bar.limit, result.error,
                         FewestRepeats(result.samples), bar.what);
}

}  // namespace longwave
