#include "client/cli/arguments.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

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
  EXPECT_EQ(parsed->input_format, InputFormat::kLines);
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
  ASSERT_EQ(line->spans.size(), 2);
  EXPECT_EQ(line->spans[1].begin, 5);
  EXPECT_EQ(line->spans[1].end, 9);
  const TempFolder folder;
  const std::string path = folder / "spans.txt";
  std::ofstream(path) << "0:3\n5:9\n";
  const auto file = ParseEncode({"--pooling", "spans", "--spans", path});
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->spans.size(), 2);
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
  EXPECT_EQ(Problem({"--pooling", "spans"}), "--pooling spans needs --spans");
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

TEST(ParseOthersTest, TakeTheirOptions) {
  EXPECT_EQ(ParseEstimate({"100", "--dtype", "int8"})->options.dtype, v1::DATA_TYPE_INT8);
  EXPECT_FALSE(ParseEstimate({}).ok());
  EXPECT_TRUE(ParseInfo({"--json"})->json);
  EXPECT_FALSE(ParseInfo({"extra"}).ok());
  EXPECT_EQ(ParseHealth({"--service", "s", "--timeout", "2"})->timeout, absl::Seconds(2));
  EXPECT_FALSE(ParseHealth({"extra"}).ok());
}

TEST(HelpTextTest, ListsEveryOptionWithinEightyColumns) {
  for (const char* subcommand : {"encode", "estimate", "info", "health", ""}) {
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
