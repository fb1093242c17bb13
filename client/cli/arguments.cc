#include "client/cli/arguments.h"

#include <utility>

#include "client/cli/option_parser.h"
#include "client/cli/option_values.h"

namespace longwave::cli {
namespace {

OptionParser EstimateParser(EstimateArguments* arguments) {
  OptionParser parser;
  parser.AddSection("Input and vectors");
  parser.AddText("tokenizer", "KIND", "for files: byte, or a SentencePiece model [byte]",
                 &arguments->tokenizer);
  AddPooling(parser, &arguments->options);
  AddVectorShape(parser, &arguments->options);
  AddServer(parser, &arguments->server, &arguments->access);
  AddModel(parser, &arguments->options);
  parser.AddFlag("json", "the answer as one JSON object", &arguments->json);
  return parser;
}

OptionParser InfoParser(InfoArguments* arguments) {
  OptionParser parser;
  AddServer(parser, &arguments->server, &arguments->access);
  parser.AddText("model", "NAME", "model [the server's default]", &arguments->model);
  parser.AddText("model-version", "VERSION", "its version", &arguments->model_version);
  parser.AddFlag("json", "as one JSON object (proto3 JSON of the Model)", &arguments->json);
  return parser;
}

OptionParser HealthParser(HealthArguments* arguments) {
  OptionParser parser;
  AddServer(parser, &arguments->server, &arguments->access);
  parser.AddText("service", "NAME", "service to ask about [the server as a whole]",
                 &arguments->service);
  parser.Add("timeout", "SECONDS", "how long to wait [5]", Into(&arguments->timeout, ParseSeconds));
  parser.AddFlag("quiet", "exit code only", &arguments->quiet);
  return parser;
}

absl::Status NoInputs(const absl::StatusOr<std::vector<std::string>>& others) {
  if (!others.ok()) return others.status();
  if (others->empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("unexpected argument " + others->front());
}

}  // namespace

absl::StatusOr<EstimateArguments> ParseEstimate(absl::Span<const std::string> arguments) {
  EstimateArguments parsed;
  auto inputs = EstimateParser(&parsed).Parse(arguments);
  if (!inputs.ok()) return inputs.status();
  if (inputs->empty()) {
    return absl::InvalidArgumentError("estimate needs token counts or files");
  }
  parsed.inputs = *std::move(inputs);
  return parsed;
}

absl::StatusOr<InfoArguments> ParseInfo(absl::Span<const std::string> arguments) {
  InfoArguments parsed;
  absl::Status status = NoInputs(InfoParser(&parsed).Parse(arguments));
  if (!status.ok()) return status;
  return parsed;
}

absl::StatusOr<HealthArguments> ParseHealth(absl::Span<const std::string> arguments) {
  HealthArguments parsed;
  absl::Status status = NoInputs(HealthParser(&parsed).Parse(arguments));
  if (!status.ok()) return status;
  return parsed;
}

std::vector<OptionInfo> EstimateOptionInfos() {
  EstimateArguments arguments;
  return EstimateParser(&arguments).Describe();
}
std::vector<OptionInfo> InfoOptionInfos() {
  InfoArguments arguments;
  return InfoParser(&arguments).Describe();
}
std::vector<OptionInfo> HealthOptionInfos() {
  HealthArguments arguments;
  return HealthParser(&arguments).Describe();
}

}  // namespace longwave::cli
