#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/arguments.h"
#include "client/cli/names.h"
#include "client/cli/option_parser.h"
#include "client/cli/option_values.h"
#include "client/cli/spans.h"

namespace longwave::cli {
namespace {

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
  ChunkOptions chunk_tokens;
  ChunkUnit chunk_unit = ChunkUnit::kNone;
  std::optional<OutputFormat> format;
};

OptionParser::Setter Append(std::vector<std::string>* list) {
  return [list](absl::string_view value) {
    list->emplace_back(value);
    return absl::OkStatus();
  };
}

void AddInputOptions(OptionParser& parser, EncodeParsing* state) {
  EncodeArguments& arguments = state->arguments;
  parser.AddSection("Input");
  parser.Add("input-format", "FORMAT",
             "auto (by name), text (a file is a document),\nlines, jsonl, ids, fasta, npy [auto]",
             Into(&arguments.read.format, ParseInputFormat));
  parser.Choices(InputFormatNames());
  parser.AddFlag("lines", "short for --input-format lines", &state->lines);
  parser.Add("include", "GLOB",
             "of directories, only files whose names fit; may be\nrepeated [all]",
             Append(&arguments.read.filter.include));
  parser.Add("exclude", "GLOB", "and not these; may be repeated [none]",
             Append(&arguments.read.filter.exclude));
  parser.AddText("tokenizer", "FILE", "byte, or the path of a SentencePiece model [byte]",
                 &arguments.tokenizer);
  parser.Choices({"byte"});
  parser.Add("truncate", "SIDE",
             "what is too long: refuse, or cut off at the end or\nstart [refuse]",
             Into(&arguments.options.truncation, ParseTruncation));
  parser.Choices(TruncationNames());
  parser.AddNumber(
      "max-tokens", "cut to N tokens [the model's limit]", 1, kMaxUint32,
      [&arguments](int64_t n) { arguments.options.max_tokens = static_cast<uint32_t>(n); });
}

void AddSpanOptions(OptionParser& parser, EncodeParsing* state) {
  const auto load = [](absl::string_view value) { return LoadSpans(std::string(value)); };
  parser.AddSection("Chunks: each document is encoded whole, and gives a vector for each");
  parser.Add("chunk-tokens", "N[:OVERLAP]",
             "N tokens, OVERLAP of them shared with the chunk\nbefore; with --chunk-by: at most N",
             Into(&state->chunk_tokens, ParseChunkTokens));
  parser.Add("chunk-by", "UNIT",
             "each of the lines, sentences or paragraphs; with\n--chunk-tokens: as many as fit",
             Into(&state->chunk_unit, ParseChunkUnit));
  parser.Choices({"lines", "sentences", "paragraphs"});
  parser.Add(
      "spans", "RANGES",
      "with --pooling spans: 0:128,128:256 (tokens), or a\nfile of ranges, for every document",
      Into(&state->arguments.read.spans.spans, load));
}

void AddRowOptions(OptionParser& parser, EncodeParsing* state) {
  EncodeArguments& arguments = state->arguments;
  const auto load = [](absl::string_view value) { return LoadSpans(std::string(value)); };
  parser.Add("rows", "RANGES",
             "token rows: only 0:128,512:640 of every document, or\na file of ranges [all]",
             Into(&arguments.row_ranges, load));
  parser.AddNumber(
      "row-stride", "token rows: every N-th [1]", 1, kMaxUint32,
      [&arguments](int64_t n) { arguments.options.row_stride = static_cast<uint32_t>(n); });
  parser.AddFlag("normalize", "l2-normalise the vectors", &state->normalize.yes);
  parser.AddFlag("no-normalize", "do not [the model's default]", &state->normalize.no);
  parser.AddFlag("deterministic", "refuse devices that do not promise the same bits",
                 &arguments.options.deterministic);
}

void AddResultOptions(OptionParser& parser, EncodeParsing* state) {
  EncodeArguments& arguments = state->arguments;
  parser.AddSection("Output");
  parser.AddText("output", "FILE",
                 "write the vectors to FILE, which appears when whole;\n- is standard output",
                 &arguments.output);
  parser.Add("format", "FORMAT", "npy, jsonl, safetensors or raw [by the name of FILE]",
             [state](absl::string_view value) {
               auto format = ParseOutputFormat(value);
               if (format.ok()) state->format = *format;
               return format.status();
             });
  parser.Choices({"npy", "jsonl", "safetensors", "raw"});
  parser.AddFlag("resume",
                 "when interrupted keep FILE.part and FILE.journal;\ngo on there when run again",
                 &arguments.resume);
  parser.AddFlag("summary", "a table of what was done (the default)", &state->summary);
  parser.AddFlag("json", "the summary as one JSON object", &arguments.json);
  parser.AddFlag("quiet", "no summary and no progress", &arguments.quiet);
}

void AddCallOptions(OptionParser& parser, EncodeParsing* state) {
  EncodeArguments& arguments = state->arguments;
  AddServer(parser, &arguments.server, &arguments.access);
  AddModel(parser, &arguments.options);
  parser.Add("timeout", "SECONDS", "for each call [no limit of ours]",
             Into(&arguments.options.timeout, ParseSeconds));
  parser.AddText("request-id", "ID", "for tracing", &arguments.options.request_id);
}

OptionParser EncodeParser(EncodeParsing* state) {
  OptionParser parser;
  AddInputOptions(parser, state);
  parser.AddSection("Vectors");
  AddPooling(parser, &state->arguments.options);
  AddVectorShape(parser, &state->arguments.options);
  AddRowOptions(parser, state);
  AddSpanOptions(parser, state);
  AddResultOptions(parser, state);
  parser.AddFlag("similarity", "cosine similarity of all pairs of documents",
                 &state->arguments.similarity);
  AddCallOptions(parser, state);
  parser.AddFlag("stream", "use EncodeStream for short documents too", &state->arguments.stream);
  return parser;
}

OptionParser StreamParser(EncodeParsing* state) {
  OptionParser parser;
  AddInputOptions(parser, state);
  parser.AddSection("Rows");
  AddVectorShape(parser, &state->arguments.options);
  AddRowOptions(parser, state);
  AddResultOptions(parser, state);
  AddCallOptions(parser, state);
  return parser;
}

// Whether a document may bring spans of its own.
bool MayBeJsonl(const EncodeArguments& arguments) {
  if (arguments.read.format != InputFormat::kAuto) {
    return arguments.read.format == InputFormat::kJsonl;
  }
  for (const std::string& input : arguments.inputs) {
    const bool other = FormatOfPath(input) != InputFormat::kJsonl &&
                       (input == "-" || absl::StrContains(input.substr(input.rfind('/') + 1), '.'));
    if (!other) return true;  // a name without an ending may be a directory's
  }
  return false;
}

absl::Status CheckSpans(EncodeParsing* state) {
  EncodeArguments& arguments = state->arguments;
  SpanOptions& spans = arguments.read.spans;
  spans.chunks = state->chunk_tokens;
  spans.chunks.unit = state->chunk_unit;
  v1::Pooling& pooling = arguments.options.pooling;
  if (spans.chunks.wanted()) {
    if (spans.chunks.unit != ChunkUnit::kNone && spans.chunks.overlap > 0) {
      return absl::InvalidArgumentError("--chunk-by knows no overlap; give --chunk-tokens N");
    }
    if (!spans.spans.empty()) {
      return absl::InvalidArgumentError(
          "--spans and --chunk-tokens or --chunk-by exclude each other");
    }
    if (pooling != v1::POOLING_UNSPECIFIED && pooling != v1::POOLING_SPANS) {
      return absl::InvalidArgumentError(absl::StrCat(
          "chunks are pooled as spans; --pooling ", PoolingName(pooling), " makes something else"));
    }
    pooling = v1::POOLING_SPANS;
  }
  spans.wanted = pooling == v1::POOLING_SPANS;
  if (!spans.wanted && !spans.spans.empty()) {
    return absl::InvalidArgumentError("--spans needs --pooling spans");
  }
  if (spans.wanted && spans.spans.empty() && !spans.chunks.wanted() && !MayBeJsonl(arguments)) {
    return absl::InvalidArgumentError(
        "--pooling spans needs --spans, --chunk-tokens, --chunk-by or JSON lines with \"spans\"");
  }
  return absl::OkStatus();
}

absl::Status CheckOutput(const EncodeParsing& state, EncodeArguments* arguments) {
  if (arguments->output.empty()) {
    if (arguments->resume) return absl::InvalidArgumentError("--resume needs --output FILE");
    return state.format.has_value() ? absl::InvalidArgumentError("--format needs --output")
                                    : absl::OkStatus();
  }
  const bool pipe = arguments->output == "-";
  const auto format =
      state.format.has_value() ? state.format : OutputFormatOfPath(arguments->output);
  if (!format.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--output ", arguments->output,
        pipe ? ": standard output has no name that tells the format; name the --format"
             : ": the name ends in none of .npy, .jsonl, .safetensors; name the --format"));
  }
  if (pipe && arguments->resume) {
    return absl::InvalidArgumentError("--resume needs an --output that is a file");
  }
  if (pipe && *format == OutputFormat::kSafetensors) {
    return absl::InvalidArgumentError(
        "--output -: the header of safetensors is known at the end only; "
        "npy, jsonl and raw can be piped");
  }
  arguments->output_format = *format;
  return absl::OkStatus();
}

absl::Status CheckRows(const EncodeArguments& arguments) {
  const auto pooling = arguments.options.pooling;
  if (!arguments.row_ranges.empty() && pooling != v1::POOLING_NONE) {
    return absl::InvalidArgumentError("--rows needs --pooling none");
  }
  const bool many_rows = pooling == v1::POOLING_NONE || pooling == v1::POOLING_SPANS;
  if (arguments.similarity && many_rows) {
    return absl::InvalidArgumentError("--similarity compares one vector per document");
  }
  if (arguments.similarity && arguments.resume) {
    return absl::InvalidArgumentError("--similarity and --resume exclude each other");
  }
  return absl::OkStatus();
}

absl::Status CheckExclusions(EncodeParsing* state) {
  EncodeArguments& arguments = state->arguments;
  if (state->normalize.yes && state->normalize.no) {
    return absl::InvalidArgumentError("--normalize and --no-normalize exclude each other");
  }
  if (state->normalize.yes || state->normalize.no) {
    arguments.options.normalize = state->normalize.yes;
  }
  if (state->lines) {
    if (arguments.read.format != InputFormat::kAuto) {
      return absl::InvalidArgumentError("--lines and --input-format exclude each other");
    }
    arguments.read.format = InputFormat::kLines;
  }
  if (arguments.options.max_tokens > 0 &&
      arguments.options.truncation == v1::TRUNCATION_SIDE_UNSPECIFIED) {
    return absl::InvalidArgumentError("--max-tokens needs --truncate end or start");
  }
  if (state->summary + arguments.json + arguments.quiet > 1) {
    return absl::InvalidArgumentError("--summary, --json and --quiet exclude each other");
  }
  return absl::OkStatus();
}

absl::StatusOr<EncodeArguments> Complete(absl::StatusOr<std::vector<std::string>> inputs,
                                         EncodeParsing* state) {
  if (!inputs.ok()) return inputs.status();
  state->arguments.inputs = *std::move(inputs);
  if (state->arguments.inputs.empty()) state->arguments.inputs = {"-"};
  absl::Status status = CheckExclusions(state);
  if (status.ok()) status = CheckSpans(state);
  if (status.ok()) status = CheckRows(state->arguments);
  if (status.ok()) status = CheckOutput(*state, &state->arguments);
  if (!status.ok()) return status;
  return std::move(state->arguments);
}

}  // namespace

absl::StatusOr<EncodeArguments> ParseEncode(absl::Span<const std::string> arguments) {
  EncodeParsing state;
  return Complete(EncodeParser(&state).Parse(arguments), &state);
}

absl::StatusOr<EncodeArguments> ParseStream(absl::Span<const std::string> arguments) {
  EncodeParsing state;
  state.arguments.options.pooling = v1::POOLING_NONE;
  state.arguments.stream = true;
  auto parsed = Complete(StreamParser(&state).Parse(arguments), &state);
  if (parsed.ok() && parsed->output.empty()) {
    return absl::InvalidArgumentError("stream needs --output FILE, or --output - with --format");
  }
  return parsed;
}

std::vector<OptionInfo> EncodeOptionInfos() {
  EncodeParsing state;
  return EncodeParser(&state).Describe();
}

std::vector<OptionInfo> StreamOptionInfos() {
  EncodeParsing state;
  return StreamParser(&state).Describe();
}

bool OnlyIds(const EncodeArguments& arguments) {
  const auto holds_ids = [&](const std::string& input) {
    const InputFormat format =
        arguments.read.format == InputFormat::kAuto ? FormatOfPath(input) : arguments.read.format;
    return format == InputFormat::kIds || format == InputFormat::kNpy;
  };
  return std::all_of(arguments.inputs.begin(), arguments.inputs.end(), holds_ids);
}

}  // namespace longwave::cli
