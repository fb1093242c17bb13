#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/bench/benchmarks.h"
#include "tests/bench/double_encoder.h"
#include "tests/bench/encoder_run.h"
#include "tests/bench/floors.h"
#include "tests/bench/ragged.h"
#include "tests/bench/random_model.h"
#include "tests/bench/softmax_encoder.h"
#include "tests/bench/suite.h"

namespace longwave {
namespace {

constexpr int64_t kWarmUpTokens = 16384;
constexpr int64_t kLongestTokens = int64_t{1} << 20;

BenchOptions ShapeOf(const Suite& suite, int64_t n, int64_t layers) {
  BenchOptions options = suite.options();
  options.tokens = suite.Tokens(n);
  options.layers = layers;
  options.heads = suite.Heads(12);
  options.head_dim = 32;
  options.features = 32;
  options.intermediate = 1536;
  options.bias = BiasKind::kT5;
  options.max_distance = 128;
  options.causal = false;
  return options;
}

EncoderShape FloorShape(const BenchOptions& options) {
  return {.layers = options.layers,
          .heads = options.heads,
          .head = {options.head_dim, options.features},
          .intermediate = options.intermediate};
}

nlohmann::ordered_json EncoderDetails(const BenchOptions& options) {
  nlohmann::ordered_json details = ShapeDetails(options);
  details["layers"] = options.layers;
  details["hidden"] = options.heads * options.head_dim;
  details["intermediate"] = options.intermediate;
  return details;
}

// One sequence and the encoder for it; the output is 64 rows of the last layer, which cost nothing
// beside the layers and can be compared with double.
class Run {
 public:
  static absl::StatusOr<std::unique_ptr<Run>> Create(const BenchOptions& options) {
    auto encoder = MakeBenchEncoder(options, FeatureKind::kPrf);
    if (!encoder.ok()) return encoder.status();
    return std::unique_ptr<Run>(new Run(options, *std::move(encoder)));
  }

  const BenchOptions& options() const { return options_; }
  const std::vector<int32_t>& ids() const { return ids_; }
  const absl::Status& status() const { return status_; }

  void Encode() {
    EncoderBatch batch;
    batch.Add(ids_);
    auto rows = EncodeBatch(*encoder_, std::move(batch), {RowsOutput(compared_)});
    if (!rows.ok()) {
      status_ = rows.status();
      return;
    }
    values_ = std::move((*rows)[0]);
  }

  // Worst |difference| of the last Encode's rows over the largest value, against double.
  double Error(int threads) const {
    at::set_num_threads(threads);
    const ModelFolder model = RandomModel(options_, FeatureKind::kPrf);
    const at::Tensor expected = DoubleStates(model.config, model.weights, ids_, compared_);
    at::set_num_threads(1);
    const at::Tensor actual =
        at::tensor(at::ArrayRef<float>(values_), at::kFloat).view(expected.sizes()).to(at::kDouble);
    return ((actual - expected).abs().max() / expected.abs().max()).item<double>();
  }

  Contender AsContender(const std::string& name) {
    return {name, [this] { Encode(); }, [] { at::set_num_threads(1); }};
  }

 private:
  Run(const BenchOptions& options, std::unique_ptr<TransformerEncoder> encoder)
      : options_(options),
        encoder_(std::move(encoder)),
        ids_(BenchIds(options.tokens, options.seed)),
        compared_(SampledRows(options.tokens, options.seed)) {}

  const BenchOptions options_;
  const std::unique_ptr<TransformerEncoder> encoder_;
  const std::vector<int32_t> ids_;
  const std::vector<int64_t> compared_;
  std::vector<float> values_;
  absl::Status status_;
};

BarResult ResultOf(Suite& suite, absl::string_view bar, const Run& run, double value,
                   std::vector<Samples> samples) {
  return {.bar = &FindBar(bar),
          .value = value,
          .samples = std::move(samples),
          .error = run.Error(suite.options().threads),
          .reference = "64 rows in double",
          .details = EncoderDetails(run.options())};
}

void AgainstSoftmax(Suite& suite) {
  const absl::string_view bars[] = {"encoder_vs_softmax_8k", "encoder_roof_8k"};
  if (!suite.Wants(bars)) return;
  suite.Progress("encoder against softmax, n 8192");
  const auto run = Run::Create(ShapeOf(suite, 8192, 6));
  if (!run.ok()) return suite.Refuse(bars, run.status());
  const BenchOptions& options = (*run)->options();
  SoftmaxTwin twin(RandomModel(options, FeatureKind::kPrf), suite.pool());
  const auto samples = suite.MeasureBesideSgemm(
      {(*run)->AsContender("ours"),
       {"softmax_twin", [&] { twin.Encode((*run)->ids()); }, [] { at::set_num_threads(1); }}});
  if (!samples.ok()) return suite.Refuse(bars, samples.status());
  if (!(*run)->status().ok()) return suite.Refuse(bars, (*run)->status());
  const double ours = (*samples)[0].Median();
  BarResult result = ResultOf(suite, bars[0], **run, (*samples)[1].Median() / ours, *samples);
  result.details["tokens_per_second"] = static_cast<double>(options.tokens) / ours;
  suite.Report(result);
  result.bar = &FindBar(bars[1]);
  const double flops =
      EncoderFlops(FloorShape(options), options.max_distance) * static_cast<double>(options.tokens);
  result.value = 1 / suite.ValueAgainstFloor(*samples, flops, result.details);
  result.details["value_against_best"] = 1 / result.details["value_against_best"].get<double>();
  suite.Report(std::move(result));
}

void AgainstSoftmaxShort(Suite& suite) {
  const absl::string_view bars[] = {"encoder_vs_softmax_512", "softmax_twin_vs_nn_512"};
  if (!suite.Wants(bars)) return;
  suite.Progress("encoder against softmax, n 512");
  const auto run = Run::Create(ShapeOf(suite, 512, 6));
  if (!run.ok()) return suite.Refuse(bars, run.status());
  const ModelFolder model = RandomModel((*run)->options(), FeatureKind::kPrf);
  const std::vector<int32_t>& ids = (*run)->ids();
  SoftmaxTwin twin(model, suite.pool());
  const NnEncoder fused(model, NnEncoder::Form::kFused), sdpa(model, NnEncoder::Form::kSdpa);
  const int threads = suite.options().threads;
  const auto library = [threads] { at::set_num_threads(threads); };
  const auto samples =
      suite.Measure({(*run)->AsContender("ours"),
                     {"softmax_twin", [&] { twin.Encode(ids); }, [] { at::set_num_threads(1); }},
                     {"nn_fused_layer", [&] { fused.Encode(ids); }, library},
                     {"nn_sdpa_layer", [&] { sdpa.Encode(ids); }, library}});
  if (!samples.ok()) return suite.Refuse(bars, samples.status());
  if (!(*run)->status().ok()) return suite.Refuse(bars, (*run)->status());
  const double ours = (*samples)[0].Median(), softmax = (*samples)[1].Median();
  BarResult result = ResultOf(suite, bars[0], **run, softmax / ours, *samples);
  suite.Report(result);
  result.bar = &FindBar(bars[1]);
  const size_t better = (*samples)[2].Median() <= (*samples)[3].Median() ? 2 : 3;
  result.value = (*samples)[better].Median() / softmax;
  // What is reported here is the twin: it computes what LibTorch's encoder does.
  const at::Tensor expected = sdpa.Encode(ids);
  result.error = ((twin.Encode(ids) - expected).abs().max() / expected.abs().max()).item<double>();
  result.reference = "LibTorch's encoder in fp32";
  result.details["nn"] = (*samples)[better].name;
  suite.Report(std::move(result));
}

struct SeriesPoint {
  Samples samples;
  double seconds_per_token_layer = 0;
  double error = 0;
};

SeriesPoint PointOf(Suite& suite, const Run& run, Samples samples) {
  const BenchOptions& options = run.options();
  const double seconds = samples.Median() / static_cast<double>(options.tokens * options.layers);
  suite.Progress(absl::StrCat("n ", options.tokens, " in double"));
  return {std::move(samples), seconds, run.Error(options.threads)};
}

absl::StatusOr<std::vector<SeriesPoint>> RepeatedPoints(Suite& suite, int64_t layers) {
  std::vector<std::unique_ptr<Run>> runs;
  std::vector<Contender> contenders;
  for (const int64_t n : {int64_t{4096}, kWarmUpTokens}) {
    auto run = Run::Create(ShapeOf(suite, n, layers));
    if (!run.ok()) return run.status();
    runs.push_back(*std::move(run));
    contenders.push_back(runs.back()->AsContender(absl::StrCat("n_", n)));
  }
  auto samples = suite.Measure(contenders);
  if (!samples.ok()) return samples.status();
  std::vector<SeriesPoint> points;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (!runs[i]->status().ok()) return runs[i]->status();
    points.push_back(PointOf(suite, *runs[i], std::move((*samples)[i])));
  }
  return points;
}

// One timed run of `n` tokens after one of kWarmUpTokens.
absl::StatusOr<SeriesPoint> SinglePoint(Suite& suite, int64_t n, int64_t layers) {
  suite.Progress(absl::StrCat("encoder, n ", n, ", layers ", layers));
  const auto warm_up = Run::Create(ShapeOf(suite, kWarmUpTokens, layers));
  if (!warm_up.ok()) return warm_up.status();
  const auto run = Run::Create(ShapeOf(suite, n, layers));
  if (!run.ok()) return run.status();
  Samples samples = MeasureOnce(
      absl::StrCat("n_", n), [&] { (*warm_up)->Encode(); }, [&] { (*run)->Encode(); },
      suite.clock());
  if (!(*run)->status().ok()) return (*run)->status();
  return PointOf(suite, **run, std::move(samples));
}

void ReportSeries(Suite& suite, absl::string_view bar, const BenchOptions& options,
                  const std::vector<SeriesPoint>& points) {
  BarResult result = {.bar = &FindBar(bar), .reference = "64 rows in double"};
  result.details = EncoderDetails(options);
  result.details.erase("n");
  nlohmann::ordered_json by_length = nlohmann::ordered_json::object();
  double smallest = points[0].seconds_per_token_layer, largest = smallest;
  for (const SeriesPoint& point : points) {
    smallest = std::min(smallest, point.seconds_per_token_layer);
    largest = std::max(largest, point.seconds_per_token_layer);
    result.error = std::max(result.error, point.error);
    result.samples.push_back(point.samples);
    by_length[point.samples.name] = point.seconds_per_token_layer;
  }
  result.value = largest / smallest;
  result.details["seconds_per_token_layer"] = std::move(by_length);
  suite.Report(std::move(result));
}

void LinearRow(Suite& suite) {
  const absl::string_view bars[] = {"encoder_linear"};
  if (!suite.Wants(bars)) return;
  suite.Progress("encoder, seconds a token");
  const auto points = RepeatedPoints(suite, 6);
  if (!points.ok()) return suite.Refuse(bars, points.status());
  ReportSeries(suite, bars[0], ShapeOf(suite, 0, 6), *points);
}

void LinearLongRow(Suite& suite) {
  const absl::string_view bars[] = {"encoder_linear_2_layers"};
  if (!suite.Wants(bars)) return;
  auto points = RepeatedPoints(suite, 2);
  if (!points.ok()) return suite.Refuse(bars, points.status());
  for (int64_t n = 65536; n <= kLongestTokens; n *= 4) {
    auto point = SinglePoint(suite, n, 2);
    if (!point.ok()) return suite.Refuse(bars, point.status());
    points->push_back(*std::move(point));
  }
  ReportSeries(suite, bars[0], ShapeOf(suite, 0, 2), *points);
}

void EncodeLengths(Encoder& encoder, const std::vector<int32_t>& ids,
                   const std::vector<int64_t>& lengths, absl::Status& status) {
  EncoderBatch batch;
  int64_t first = 0;
  for (const int64_t n : lengths) {
    batch.Add(absl::MakeConstSpan(ids).subspan(first, n));
    first += n;
  }
  const auto rows = EncodeBatch(encoder, std::move(batch), std::vector<OutputSpec>(lengths.size()));
  if (!rows.ok()) status = rows.status();
}

void Ragged(Suite& suite) {
  const absl::string_view bars[] = {"encoder_ragged"};
  if (!suite.Wants(bars)) return;
  suite.Progress("ragged batch");
  const BenchOptions options = ShapeOf(suite, 32768, 6);
  const auto encoder = MakeBenchEncoder(options, FeatureKind::kPrf);
  if (!encoder.ok()) return suite.Refuse(bars, encoder.status());
  const int64_t total = options.tokens;
  const std::vector<int32_t> ids = BenchIds(total, options.seed);
  const std::vector<int64_t> ragged =
      LogUniformLengths(total, suite.Tokens(128), suite.Tokens(16384), options.seed);
  const std::vector<int64_t> equal(8, total / 8);
  absl::Status status;
  const auto samples =
      suite.Measure({{"ours", [&] { EncodeLengths(**encoder, ids, ragged, status); }, {}},
                     {"equal", [&] { EncodeLengths(**encoder, ids, equal, status); }, {}}});
  if (!status.ok()) return suite.Refuse(bars, status);
  if (!samples.ok()) return suite.Refuse(bars, samples.status());
  // What a mate could change is a matter of tests; here one sequence of the batch by itself.
  BenchOptions single = options;
  single.tokens = ragged[0];
  const auto run = Run::Create(single);
  if (!run.ok()) return suite.Refuse(bars, run.status());
  (*run)->Encode();
  BarResult result =
      ResultOf(suite, bars[0], **run, (*samples)[0].Median() / (*samples)[1].Median(), *samples);
  result.reference = "the first sequence by itself, 64 rows in double";
  result.details["n"] = total;
  result.details["lengths"] = ragged;
  suite.Report(std::move(result));
}

}  // namespace

absl::Status RunEncoderBars(const BenchOptions& options) {
  const c10::InferenceMode no_gradients;
  at::set_num_threads(1);
  Suite suite(options);
  if (const absl::Status status = suite.MeasureRooflines(); !status.ok()) return status;
  AgainstSoftmax(suite);
  AgainstSoftmaxShort(suite);
  LinearRow(suite);
  LinearLongRow(suite);
  Ragged(suite);
  return suite.Result();
}

absl::Status RunEncoderLong(const BenchOptions& options) {
  const c10::InferenceMode no_gradients;
  at::set_num_threads(1);
  Suite suite(options);
  if (const absl::Status status = suite.MeasureRooflines(); !status.ok()) return status;
  const absl::StatusOr<SeriesPoint> point = SinglePoint(suite, kLongestTokens, 6);
  if (!point.ok()) return point.status();
  nlohmann::ordered_json object = {{"point", "encoder_long"},
                                   {"seconds", point->samples.Median()},
                                   {"seconds_per_token_layer", point->seconds_per_token_layer},
                                   {"repeats", 1},
                                   {"error", point->error},
                                   {"reference", "64 rows in double"}};
  object.update(EncoderDetails(ShapeOf(suite, kLongestTokens, 6)));
  suite.ReportPoint(object, absl::StrCat("encoder, 1048576 tokens, 6 layers: ",
                                         point->samples.Median(), " s, error ", point->error));
  return suite.Result();
}

}  // namespace longwave
