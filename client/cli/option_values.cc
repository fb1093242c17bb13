#include "client/cli/option_values.h"

#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/arguments.h"
#include "client/cli/names.h"

namespace longwave::cli {
namespace {

absl::StatusOr<std::vector<int32_t>> ParseLayers(absl::string_view value) {
  std::vector<int32_t> layers;
  for (const absl::string_view part : absl::StrSplit(value, ',')) {
    int32_t layer = 0;
    if (!absl::SimpleAtoi(part, &layer)) {
      return absl::InvalidArgumentError("is not a list of layers like 0,-1");
    }
    layers.push_back(layer);
  }
  return layers;
}

}  // namespace

absl::StatusOr<absl::Duration> ParseSeconds(absl::string_view value) {
  double seconds = 0;
  if (!absl::SimpleAtod(value, &seconds) || !(seconds > 0) || seconds > 1e9) {
    return absl::InvalidArgumentError("is not a number of seconds above 0");
  }
  return absl::Seconds(seconds);
}

void AddServer(OptionParser& parser, std::string* server, AccessArguments* access) {
  parser.AddSection("Server");
  parser.AddText("server", "ADDRESS", absl::StrCat("host:port [", kDefaultServer, "]"), server);
  AddAccess(parser, access);
}

void AddModel(OptionParser& parser, client::EncodeOptions* options) {
  parser.AddText("model", "NAME", "model [the server's default]", &options->model);
  parser.AddText("model-version", "VERSION", "its version [the server's default]",
                 &options->model_version);
}

void AddPooling(OptionParser& parser, client::EncodeOptions* options) {
  parser.Add("pooling", "KIND",
             "mean, cls, last, max, none (token rows) or spans\n[the model's default]",
             Into(&options->pooling, ParsePooling));
  parser.Choices(PoolingNames());
}

void AddVectorShape(OptionParser& parser, client::EncodeOptions* options) {
  parser.Add("layers", "LIST", "layers to return, concatenated: 0 = embeddings,\n-1 = last [-1]",
             Into(&options->layers, ParseLayers));
  parser.Add("dtype", "TYPE", "fp32, fp16, bf16, int8 or binary [fp32]",
             Into(&options->dtype, ParseDataType));
  parser.Choices(DataTypeNames());
  parser.AddNumber("truncate-dim", "first N values of each vector [all]", 1, kMaxUint32,
                   [options](int64_t n) { options->truncate_dim = static_cast<uint32_t>(n); });
  parser.Add("route", "ROUTE", "auto, direct, tiles, chunkwise, fft, interpolation\n[auto]",
             Into(&options->route, ParseRoute));
  parser.Choices(RouteNames());
  parser.Add("priority", "CLASS", "interactive or batch [interactive]",
             Into(&options->priority, ParsePriority));
  parser.Choices(PriorityNames());
}

}  // namespace longwave::cli
