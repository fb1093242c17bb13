#include "client/cli/arguments.h"

#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/load_arguments.h"
#include "client/cli/names.h"
#include "client/cli/option_parser.h"
#include "client/cli/spans.h"

namespace longwave::cli {
namespace {

constexpr int64_t kMaxUint32 = std::numeric_limits<uint32_t>::max();

// A setter that stores what `parse` makes of the value.
template <typename Target, typename Parse>
OptionParser::Setter Into(Target* target, Parse parse) {
  return [target, parse](absl::string_view value) {
    auto parsed = parse(value);
    if (parsed.ok()) *target = *std::move(parsed);
    return parsed.status();
  };
}

absl::StatusOr<absl::Duration> ParseSeconds(absl::string_view value) {
  double seconds = 0;
  if (!absl::SimpleAtod(value, &seconds) || !(seconds > 0) || seconds > 1e9) {
    return absl::InvalidArgumentError("is not a number of seconds above 0");
  }
  return absl::Seconds(seconds);
}

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

// What decides cost and shape of the result, for encode and estimate alike.
void AddOutputOptions(OptionParser& parser, client::EncodeOptions* options) {
  parser.Add("pooling", "KIND",
             "mean, cls, last, max, none (token rows) or spans\n[the model's default]",
             Into(&options->pooling, ParsePooling));
  parser.Add("layers", "LIST", "layers to return, concatenated: 0 = embeddings,\n-1 = last [-1]",
             Into(&options->layers, ParseLayers));
  parser.Add("dtype", "TYPE", "fp32, fp16, bf16, int8 or binary [fp32]",
             Into(&options->dtype, ParseDataType));
  parser.AddNumber("truncate-dim", "first N values of each vector [all]", 1, kMaxUint32,
                   [options](int64_t n) { options->truncate_dim = static_cast<uint32_t>(n); });
  parser.Add("route", "ROUTE", "auto, direct, tiles, chunkwise, fft, interpolation\n[auto]",
             Into(&options->route, ParseRoute));
  parser.Add("priority", "CLASS", "interactive or batch [interactive]",
             Into(&options->priority, ParsePriority));
}

// Flags without value that stand for two states of an optional.
struct NormalizeFlags {
  bool yes = false;
  bool no = false;
};

struct EncodeParsing {
  EncodeArguments arguments;
  bool lines = false;
  bool summary = false;
  NormalizeFlags normalize;
  std::optional<OutputFormat> format;
};

void AddInputOptions(OptionParser& parser, EncodeParsing* state) {
  EncodeArguments& arguments = state->arguments;
  parser.AddSection("Input");
  parser.Add("input-format", "FORMAT",
             "auto (by name), text (a file is a document),\nlines, jsonl, ids [auto]",
             Into(&arguments.input_format, ParseInputFormat));
  parser.AddFlag("lines", "short for --input-format lines", &state->lines);
  parser.AddText("tokenizer", "KIND", "byte, or the path of a SentencePiece model [byte]",
                 &arguments.tokenizer);
  parser.Add("truncate", "SIDE",
             "what is too long: refuse, or cut off at the end or\nstart [refuse]",
             Into(&arguments.options.truncation, ParseTruncation));
  parser.AddNumber(
      "max-tokens", "cut to N tokens [the model's limit]", 1, kMaxUint32,
      [&arguments](int64_t n) { arguments.options.max_tokens = static_cast<uint32_t>(n); });
}

void AddVectorOptions(OptionParser& parser, EncodeParsing* state) {
  EncodeArguments& arguments = state->arguments;
  parser.AddSection("Vectors");
  AddOutputOptions(parser, &arguments.options);
  parser.Add("spans", "RANGES",
             "with --pooling spans: 0:128,128:256 (tokens), or a\nfile of ranges",
             Into(&arguments.spans,
                  [](absl::string_view value) { return LoadSpans(std::string(value)); }));
  parser.AddNumber(
      "row-stride", "with --pooling none: every N-th row [1]", 1, kMaxUint32,
      [&arguments](int64_t n) { arguments.options.row_stride = static_cast<uint32_t>(n); });
  parser.AddFlag("normalize", "l2-normalise the vectors", &state->normalize.yes);
  parser.AddFlag("no-normalize", "do not [the model's default]", &state->normalize.no);
  parser.AddFlag("deterministic", "refuse devices that do not promise the same bits",
                 &arguments.options.deterministic);
}

void AddResultOptions(OptionParser& parser, EncodeParsing* state) {
  EncodeArguments& arguments = state->arguments;
  parser.AddSection("Output");
  parser.AddText("output", "FILE", "write the vectors to FILE; it appears when whole",
                 &arguments.output);
  parser.Add("format", "FORMAT", "npy, jsonl or safetensors [by the name of FILE]",
             [state](absl::string_view value) {
               auto format = ParseOutputFormat(value);
               if (format.ok()) state->format = *format;
               return format.status();
             });
  parser.AddFlag("summary", "a table of what was done (the default)", &state->summary);
  parser.AddFlag("json", "the summary as one JSON object", &arguments.json);
  parser.AddFlag("similarity", "cosine similarity of all pairs of documents",
                 &arguments.similarity);
  parser.AddFlag("quiet", "no summary and no progress", &arguments.quiet);
}

void AddCallOptions(OptionParser& parser, EncodeParsing* state) {
  EncodeArguments& arguments = state->arguments;
  AddServer(parser, &arguments.server, &arguments.access);
  AddModel(parser, &arguments.options);
  parser.Add("timeout", "SECONDS", "for each call [no limit of ours]",
             Into(&arguments.options.timeout, ParseSeconds));
  parser.AddText("request-id", "ID", "for tracing", &arguments.options.request_id);
  parser.AddFlag("stream", "use EncodeStream for short documents too", &arguments.stream);
}

OptionParser EncodeParser(EncodeParsing* state) {
  OptionParser parser;
  AddInputOptions(parser, state);
  AddVectorOptions(parser, state);
  AddResultOptions(parser, state);
  AddCallOptions(parser, state);
  return parser;
}

absl::Status CheckSpans(const EncodeArguments& arguments) {
  const bool wanted = arguments.options.pooling == v1::POOLING_SPANS;
  if (wanted == !arguments.spans.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(wanted ? "--pooling spans needs --spans"
                                           : "--spans needs --pooling spans");
}

absl::Status CheckOutput(const EncodeParsing& state, EncodeArguments* arguments) {
  if (arguments->output.empty()) {
    return state.format.has_value() ? absl::InvalidArgumentError("--format needs --output")
                                    : absl::OkStatus();
  }
  const auto format =
      state.format.has_value() ? state.format : OutputFormatOfPath(arguments->output);
  if (!format.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--output ", arguments->output,
                     ": the name ends in none of .npy, .jsonl, .safetensors; name the --format"));
  }
  arguments->output_format = *format;
  return absl::OkStatus();
}

absl::Status Complete(EncodeParsing* state) {
  EncodeArguments& arguments = state->arguments;
  if (state->normalize.yes && state->normalize.no) {
    return absl::InvalidArgumentError("--normalize and --no-normalize exclude each other");
  }
  if (state->normalize.yes || state->normalize.no) {
    arguments.options.normalize = state->normalize.yes;
  }
  if (state->lines) {
    if (arguments.input_format != InputFormat::kAuto) {
      return absl::InvalidArgumentError("--lines and --input-format exclude each other");
    }
    arguments.input_format = InputFormat::kLines;
  }
  if (arguments.options.max_tokens > 0 &&
      arguments.options.truncation == v1::TRUNCATION_SIDE_UNSPECIFIED) {
    return absl::InvalidArgumentError("--max-tokens needs --truncate end or start");
  }
  if (state->summary + arguments.json + arguments.quiet > 1) {
    return absl::InvalidArgumentError("--summary, --json and --quiet exclude each other");
  }
  const auto pooling = arguments.options.pooling;
  const bool many_rows = pooling == v1::POOLING_NONE || pooling == v1::POOLING_SPANS;
  if (arguments.similarity && many_rows) {
    return absl::InvalidArgumentError("--similarity compares one vector per document");
  }
  absl::Status spans = CheckSpans(arguments);
  return spans.ok() ? CheckOutput(*state, &arguments) : spans;
}

OptionParser EstimateParser(EstimateArguments* arguments) {
  OptionParser parser;
  parser.AddSection("Input and vectors");
  parser.AddText("tokenizer", "KIND", "for files: byte, or a SentencePiece model [byte]",
                 &arguments->tokenizer);
  AddOutputOptions(parser, &arguments->options);
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

absl::StatusOr<EncodeArguments> ParseEncode(absl::Span<const std::string> arguments) {
  EncodeParsing state;
  auto inputs = EncodeParser(&state).Parse(arguments);
  if (!inputs.ok()) return inputs.status();
  absl::Status complete = Complete(&state);
  if (!complete.ok()) return complete;
  state.arguments.inputs = *std::move(inputs);
  if (state.arguments.inputs.empty()) state.arguments.inputs = {"-"};
  return std::move(state.arguments);
}

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

std::string OptionsHelp(absl::string_view subcommand) {
  EncodeParsing encode;
  EstimateArguments estimate;
  InfoArguments info;
  HealthArguments health;
  if (subcommand == "encode") return EncodeParser(&encode).Help();
  if (subcommand == "estimate") return EstimateParser(&estimate).Help();
  if (subcommand == "info") return InfoParser(&info).Help();
  if (subcommand == "health") return HealthParser(&health).Help();
  if (subcommand == "load") return LoadOptionsHelp();
  return "";
}

}  // namespace longwave::cli
