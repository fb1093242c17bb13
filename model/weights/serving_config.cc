#include "model/weights/serving_config.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/weights/json_fields.h"

namespace longwave {
namespace {

using Json = nlohmann::json;

constexpr int64_t kSchemaVersion = 1;
constexpr size_t kMaxName = 64;

std::array<std::pair<absl::string_view, Pooling>, 6> PoolingNames() {
  std::array<std::pair<absl::string_view, Pooling>, 6> names;
  const Pooling all[] = {Pooling::kMean, Pooling::kFirst, Pooling::kLast,
                         Pooling::kMax,  Pooling::kSpans, Pooling::kRows};
  for (size_t i = 0; i < names.size(); ++i) names[i] = {PoolingName(all[i]), all[i]};
  return names;
}

std::array<std::pair<absl::string_view, Route>, 6> RouteNames() {
  std::array<std::pair<absl::string_view, Route>, 6> names;
  for (size_t i = 0; i < names.size(); ++i) {
    names[i] = {RouteName(static_cast<Route>(i)), static_cast<Route>(i)};
  }
  return names;
}

bool IsName(absl::string_view text) {
  const auto allowed = [](char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
  };
  return !text.empty() && text.size() <= kMaxName && std::all_of(text.begin(), text.end(), allowed);
}

bool IsSha256(absl::string_view text) {
  const auto hex = [](char c) { return absl::ascii_isxdigit(c) && !absl::ascii_isupper(c); };
  return text.size() == 64 && std::all_of(text.begin(), text.end(), hex);
}

void ReadName(JsonFields& fields, absl::string_view key, std::string& name) {
  name = fields.String(key, std::nullopt);
  if (fields.Has(key) && !IsName(name)) {
    fields.Refuse(key, absl::StrCat("1 to ", kMaxName, " of a-z A-Z 0-9 . _ -"));
  }
}

// Half-open ranges [[begin, end], ...].
std::vector<TokenRange> ReadRanges(JsonFields& fields, absl::string_view key) {
  std::vector<TokenRange> ranges;
  for (const Json& pair : fields.Array(key, /*required=*/false)) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_unsigned() ||
        !pair[1].is_number_unsigned()) {
      fields.Refuse(key, "[[begin, end], ...] of token positions");
      return {};
    }
    ranges.push_back({pair[0].get<int64_t>(), pair[1].get<int64_t>()});
  }
  return ranges;
}

OutputSpec ReadOutput(JsonFields fields, const ModelConfig& config) {
  OutputSpec output;
  output.pooling = fields.Choice<Pooling>("pooling", std::nullopt, PoolingNames());
  output.spans = ReadRanges(fields, "spans");
  output.row_ranges = ReadRanges(fields, "row_ranges");
  output.row_stride = fields.Integer("row_stride", 1, 1, config.max_tokens);
  for (const int64_t layer : fields.Integers("layers", 0, config.num_layers)) {
    output.layers.push_back(static_cast<int>(layer));
  }
  output.truncate_dim = fields.Integer("truncate_dim", 0, 0, config.hidden_size);
  output.normalize = fields.Boolean("normalize", false);
  fields.RefuseUnknown();
  return output;
}

// One row of numbers per kept row, flattened.
std::vector<double> ReadValues(JsonFields& fields, size_t rows, size_t dim) {
  const std::string accepted = absl::StrCat(rows, " rows of ", dim, " numbers");
  std::vector<double> values;
  const Json& stored = fields.Array("values", /*required=*/true);
  bool sound = stored.size() == rows;
  for (const Json& row : stored) {
    sound = sound && row.is_array() && row.size() == dim &&
            std::all_of(row.begin(), row.end(), [](const Json& v) { return v.is_number(); });
    if (!sound) break;
    for (const Json& value : row) values.push_back(value.get<double>());
  }
  if (!sound) fields.Refuse("values", accepted);
  return values;
}

// The rules that requests are held to, for a golden's own input.
absl::Status CheckInput(const ModelConfig& config, const GoldenVector& golden) {
  EncoderInfo info;
  info.dim = config.hidden_size;
  info.layers = config.num_layers;
  info.vocab_size = config.vocab_size;
  info.max_tokens = config.max_tokens;
  EncoderBatch batch;
  batch.Add(golden.token_ids);
  return CheckBatch(info, batch, {golden.output});
}

GoldenVector ReadGolden(JsonFields fields, const ModelConfig& config, const std::string& where,
                        Problems& problems) {
  GoldenVector golden;
  for (const int64_t id : fields.Integers("token_ids", 0, config.vocab_size - 1, 1)) {
    golden.token_ids.push_back(static_cast<int32_t>(id));
  }
  golden.output = ReadOutput(fields.Object("output"), config);
  golden.rows = fields.Integers("rows", 0, INT64_MAX, 1);
  golden.tolerance = fields.Number("tolerance", std::nullopt, 0, 1);
  if (golden.token_ids.empty() || golden.rows.empty()) return golden;
  if (const absl::Status sound = CheckInput(config, golden); !sound.ok()) {
    problems.Add(absl::StrCat(where, ": ", sound.message()));
    return golden;
  }
  const int64_t row_count = golden.output.RowCount(golden.token_ids.size());
  if (*std::max_element(golden.rows.begin(), golden.rows.end()) >= row_count) {
    fields.Refuse("rows", absl::StrCat("rows below ", row_count));
  }
  const int64_t width =
      golden.output.truncate_dim > 0 ? golden.output.truncate_dim : config.hidden_size;
  const size_t dim = width * std::max<size_t>(1, golden.output.layers.size());
  golden.values = ReadValues(fields, golden.rows.size(), dim);
  fields.RefuseUnknown();
  return golden;
}

void ReadTokenizer(JsonFields fields, ServingConfig& serving) {
  ReadName(fields, "kind", serving.tokenizer_kind);
  serving.tokenizer_fingerprint = fields.String("fingerprint", "");
  fields.RefuseUnknown();
}

void ReadGoldens(JsonFields& fields, const ModelConfig& config, ServingConfig& serving,
                 Problems& problems) {
  const Json& goldens = fields.Array("goldens", /*required=*/true);
  for (size_t i = 0; i < goldens.size(); ++i) {
    const std::string where = absl::StrCat("goldens[", i, "]");
    if (!goldens[i].is_object()) {
      problems.Add(absl::StrCat(where, ": not an object"));
      continue;
    }
    const JsonFields golden(goldens[i], absl::StrCat(where, "."), &problems);
    serving.goldens.push_back(ReadGolden(golden, config, where, problems));
  }
  if (goldens.is_array() && goldens.empty() && fields.Has("goldens")) {
    fields.Refuse("goldens", "at least one: a model that cannot be checked is not served");
  }
}

}  // namespace

absl::StatusOr<ServingFile> ParseServingConfig(absl::string_view json, const ModelConfig& config) {
  const absl::StatusOr<Json> root = ParseJsonObject(json);
  if (!root.ok()) return root.status();
  Problems problems;
  ServingFile file;
  ServingConfig& serving = file.serving;
  JsonFields fields(*root, "", &problems);
  fields.Integer("schema_version", std::nullopt, kSchemaVersion, kSchemaVersion);
  ReadName(fields, "name", serving.name);
  ReadName(fields, "version", serving.version);
  ReadTokenizer(fields.Object("tokenizer"), serving);
  serving.default_pooling =
      fields.Choice<Pooling>("default_pooling", Pooling::kMean, PoolingNames());
  if (serving.default_pooling == Pooling::kSpans || serving.default_pooling == Pooling::kRows) {
    fields.Refuse("default_pooling", "a pooling to one vector: mean, first, last, max");
  }
  serving.default_normalize = fields.Boolean("default_normalize", true);
  file.route = fields.Choice<Route>("route", Route::kAuto, RouteNames());
  JsonFields limits = fields.Object("limits");
  file.max_tokens = limits.Integer("max_tokens", 0, 1, config.max_tokens);
  limits.RefuseUnknown();
  file.weights_sha256 = fields.String("weights_sha256", "");
  if (fields.Has("weights_sha256") && !IsSha256(file.weights_sha256)) {
    fields.Refuse("weights_sha256", "64 lower-case hexadecimal digits");
  }
  serving.provenance = fields.String("provenance", "");
  serving.license = fields.String("license", "");
  ModelConfig limited = config;
  if (file.max_tokens > 0) limited.max_tokens = file.max_tokens;
  ReadGoldens(fields, limited, serving, problems);
  fields.RefuseUnknown();
  if (!problems.empty()) return problems.ToStatus("the serving configuration has problems:");
  return file;
}

}  // namespace longwave
