#include "client/cli/arguments.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "client/cli/command_table.h"
#include "tests/unit/client/cli/temp_folder.h"

namespace longwave::cli {
namespace {

using Strings = std::vector<std::string>;

std::string Problem(const Strings& arguments) {
  const auto parsed = ParseEncode(arguments);
  return parsed.ok() ? "none" : std::string(parsed.status().message());
}

TEST(ParseEncodeTest, HasDefaultsAndReadsStandardInput) {
  const auto parsed = ParseEncode({});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->server, "127.0.0.1:50051");
  EXPECT_EQ(parsed->inputs, Strings{"-"});
  EXPECT_EQ(parsed->tokenizer, "byte");
  EXPECT_EQ(parsed->options.pooling, v1::POOLING_UNSPECIFIED);
  EXPECT_EQ(parsed->options.dtype, v1::DATA_TYPE_FP32);
  EXPECT_FALSE(parsed->options.normalize.has_value());
  EXPECT_EQ(parsed->options.timeout, absl::InfiniteDuration());
  EXPECT_TRUE(parsed->output.empty());
}

TEST(ParseEncodeTest, TakesEveryOption) {
  const auto parsed = ParseEncode({"a.txt",
                                   "--server",
                                   "h:1",
                                   "--pooling=none",
                                   "--layers",
                                   "-1,0",
                                   "--dtype",
                                   "bf16",
                                   "--no-normalize",
                                   "--truncate-dim",
                                   "64",
                                   "--truncate",
                                   "start",
                                   "--max-tokens",
                                   "9",
                                   "--route",
                                   "fft",
                                   "--priority",
                                   "batch",
                                   "--timeout",
                                   "1.5",
                                   "--output",
                                   "x.npy",
                                   "--row-stride",
                                   "4",
                                   "--model",
                                   "m",
                                   "--model-version",
                                   "2",
                                   "--request-id",
                                   "r",
                                   "--deterministic",
                                   "--stream",
                                   "--quiet",
                                   "--lines",
                                   "--tokenizer",
                                   "t.model",
                                   "b.txt"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->inputs, (Strings{"a.txt", "b.txt"}));
  EXPECT_EQ(parsed->server, "h:1");
  EXPECT_EQ(parsed->options.pooling, v1::POOLING_NONE);
  EXPECT_EQ(parsed->options.layers, (std::vector<int32_t>{-1, 0}));
  EXPECT_EQ(parsed->options.dtype, v1::DATA_TYPE_BF16);
  EXPECT_EQ(parsed->options.normalize, false);
  EXPECT_EQ(parsed->options.truncate_dim, 64);
  EXPECT_EQ(parsed->options.truncation, v1::TRUNCATION_SIDE_START);
  EXPECT_EQ(parsed->options.max_tokens, 9);
  EXPECT_EQ(parsed->options.route, v1::ROUTE_FFT);
  EXPECT_EQ(parsed->options.priority, v1::PRIORITY_BATCH);
  EXPECT_EQ(parsed->options.timeout, absl::Milliseconds(1500));
  EXPECT_EQ(parsed->options.row_stride, 4);
  EXPECT_EQ(parsed->options.model, "m");
  EXPECT_EQ(parsed->options.model_version, "2");
  EXPECT_EQ(parsed->options.request_id, "r");
  EXPECT_TRUE(parsed->options.deterministic);
  EXPECT_TRUE(parsed->stream);
  EXPECT_TRUE(parsed->quiet);
  EXPECT_EQ(parsed->read.format, InputFormat::kLines);
  EXPECT_EQ(parsed->tokenizer, "t.model");
  EXPECT_EQ(parsed->output_format, OutputFormat::kNpy);
}

TEST(ParseEncodeTest, ChoosesTheFormatByNameUnlessTold) {
  EXPECT_EQ(ParseEncode({"--output", "x.safetensors"})->output_format, OutputFormat::kSafetensors);
  EXPECT_EQ(ParseEncode({"--output", "x.jsonl"})->output_format, OutputFormat::kJsonl);
  EXPECT_EQ(ParseEncode({"--output", "x.npy", "--format", "jsonl"})->output_format,
            OutputFormat::kJsonl);
}

TEST(ParseEncodeTest, ReadsSpansFromTheLineOrAFile) {
  const auto line = ParseEncode({"--pooling", "spans", "--spans", "0:3,5:9"});
  ASSERT_TRUE(line.ok()) << line.status();
  ASSERT_EQ(line->read.spans.spans.size(), 2);
  EXPECT_EQ(line->read.spans.spans[1].begin, 5);
  EXPECT_EQ(line->read.spans.spans[1].end, 9);
  const TempFolder folder;
  const std::string path = folder / "spans.txt";
  std::ofstream(path) << "0:3\n5:9\n";
  const auto file = ParseEncode({"--pooling", "spans", "--spans", path});
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->read.spans.spans.size(), 2);
}

TEST(ParseEncodeTest, EverythingBehindTwoDashesIsAFile) {
  EXPECT_EQ(ParseEncode({"--", "--quiet", "-x"})->inputs, (Strings{"--quiet", "-x"}));
}

TEST(ParseEncodeTest, SaysWhatIsWrong) {
  EXPECT_EQ(Problem({"--bogus"}), "unknown option --bogus");
  EXPECT_EQ(Problem({"-x"}), "unknown option -x");
  EXPECT_EQ(Problem({"--server"}), "--server needs a value: ADDRESS");
  EXPECT_EQ(Problem({"--quiet=1"}), "--quiet takes no value");
  EXPECT_EQ(Problem({"--pooling", "avg"}),
            "--pooling avg: is none of mean, cls, last, max, none, spans");
  EXPECT_EQ(Problem({"--truncate-dim", "0"}),
            "--truncate-dim 0: is not a whole number from 1 to 4294967295");
  EXPECT_EQ(Problem({"--timeout", "-1"}), "--timeout -1: is not a number of seconds above 0");
  EXPECT_EQ(Problem({"--timeout", "nan"}), "--timeout nan: is not a number of seconds above 0");
  EXPECT_EQ(Problem({"--layers", "1,x"}), "--layers 1,x: is not a list of layers like 0,-1");
  EXPECT_EQ(Problem({"--normalize", "--no-normalize"}),
            "--normalize and --no-normalize exclude each other");
  EXPECT_EQ(Problem({"--max-tokens", "5"}), "--max-tokens needs --truncate end or start");
  EXPECT_EQ(
      Problem({"--pooling", "spans"}),
      "--pooling spans needs --spans, --chunk-tokens, --chunk-by or JSON lines with \"spans\"");
  EXPECT_EQ(Problem({"--spans", "0:1"}), "--spans needs --pooling spans");
  EXPECT_EQ(Problem({"--pooling", "spans", "--spans", "3:3"}),
            "--spans 3:3: \"3:3\" is not a range begin:end with begin < end");
  EXPECT_EQ(Problem({"--pooling", "none", "--similarity"}),
            "--similarity compares one vector per document");
  EXPECT_EQ(Problem({"--lines", "--input-format", "ids"}),
            "--lines and --input-format exclude each other");
  EXPECT_EQ(Problem({"--format", "npy"}), "--format needs --output");
  EXPECT_EQ(Problem({"--json", "--quiet"}), "--summary, --json and --quiet exclude each other");
  EXPECT_NE(Problem({"--output", "x.bin"}).find("name the --format"), std::string::npos);
}

TEST(ParseEncodeTest, ChunksArePooledAsSpans) {
  const auto parsed = ParseEncode({"--chunk-by", "sentences", "--chunk-tokens", "256"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->options.pooling, v1::POOLING_SPANS);
  EXPECT_TRUE(parsed->read.spans.wanted);
  EXPECT_EQ(parsed->read.spans.chunks.unit, ChunkUnit::kSentences);
  EXPECT_EQ(parsed->read.spans.chunks.tokens, 256);
  EXPECT_FALSE(ParseEncode({})->read.spans.wanted);
  // Lines of JSON may bring their own.
  EXPECT_TRUE(ParseEncode({"--pooling", "spans", "x.jsonl"}).ok());
  EXPECT_TRUE(ParseEncode({"--pooling", "spans", "folder"}).ok());
  EXPECT_FALSE(ParseEncode({"--pooling", "spans", "x.txt"}).ok());
}

TEST(ParseEncodeTest, SaysWhichOptionsDoNotGoTogether) {
  EXPECT_EQ(Problem({"--chunk-by", "lines", "--chunk-tokens", "9:2"}),
            "--chunk-by knows no overlap; give --chunk-tokens N");
  EXPECT_EQ(Problem({"--chunk-by", "lines", "--pooling", "mean"}),
            "chunks are pooled as spans; --pooling mean makes something else");
  EXPECT_EQ(Problem({"--chunk-by", "lines", "--pooling", "spans", "--spans", "0:1"}),
            "--spans and --chunk-tokens or --chunk-by exclude each other");
  EXPECT_EQ(Problem({"--chunk-by", "words"}),
            "--chunk-by words: is none of lines, sentences, paragraphs");
  EXPECT_EQ(Problem({"--rows", "0:1"}), "--rows needs --pooling none");
  EXPECT_EQ(Problem({"--resume"}), "--resume needs --output FILE");
  EXPECT_EQ(Problem({"--resume", "--output", "-", "--format", "npy"}),
            "--resume needs an --output that is a file");
  EXPECT_EQ(Problem({"--resume", "--output", "x.npy", "--similarity"}),
            "--similarity and --resume exclude each other");
  EXPECT_NE(Problem({"--output", "-"}).find("name the --format"), std::string::npos);
  EXPECT_NE(Problem({"--output", "-", "--format", "safetensors"}).find("can be piped"),
            std::string::npos);
}

TEST(ParseStreamTest, WantsTokenRowsAndAnOutput) {
  const auto parsed = ParseStream({"x.txt", "--output", "x.npy", "--rows", "0:5", "--resume"});
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->options.pooling, v1::POOLING_NONE);
  EXPECT_TRUE(parsed->stream);
  EXPECT_TRUE(parsed->resume);
  ASSERT_EQ(parsed->row_ranges.size(), 1);
  EXPECT_FALSE(ParseStream({"x.txt"}).ok());
  EXPECT_FALSE(ParseStream({"x.txt", "--output", "x.npy", "--pooling", "mean"}).ok());
}

TEST(ParseOthersTest, TakeTheirOptions) {
  EXPECT_EQ(ParseEstimate({"100", "--dtype", "int8"})->options.dtype, v1::DATA_TYPE_INT8);
  EXPECT_FALSE(ParseEstimate({}).ok());
  EXPECT_TRUE(ParseInfo({"--json"})->json);
  EXPECT_FALSE(ParseInfo({"extra"}).ok());
  EXPECT_EQ(ParseHealth({"--service", "s", "--timeout", "2"})->timeout, absl::Seconds(2));
  EXPECT_FALSE(ParseHealth({"extra"}).ok());
}

TEST(HelpTextTest, ListsEveryOptionWithinEightyColumns) {
  std::vector<std::string> subcommands = {""};
  for (const CommandInfo& command : CommandTable()) subcommands.push_back(command.name);
  for (const std::string& subcommand : subcommands) {
    const std::string help = HelpText(subcommand);
    EXPECT_NE(help.find("usage: longwave"), std::string::npos) << subcommand;
    std::string line;
    for (const char c : help) {
      if (c != '\n') {
        line.push_back(c);
        continue;
      }
      EXPECT_LE(line.size(), 80) << line;
      line.clear();
    }
  }
  EXPECT_NE(HelpText("encode").find("--truncate-dim N"), std::string::npos);
}

}  // namespace
}  // namespace longwave::cli
