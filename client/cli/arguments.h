#ifndef LONGWAVE_CLIENT_CLI_ARGUMENTS_H_
#define LONGWAVE_CLIENT_CLI_ARGUMENTS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/cli/access.h"
#include "client/cli/documents.h"
#include "client/cli/option_parser.h"
#include "client/cli/row_writer.h"
#include "client/options.h"

// What each subcommand is told. Every Parse... fails with INVALID_ARGUMENT and a text for people.
namespace longwave::cli {

inline constexpr char kDefaultServer[] = "127.0.0.1:50051";

struct EncodeArguments {
  std::string server = kDefaultServer;
  AccessArguments access;
  std::vector<std::string> inputs;  // at least one
  ReadOptions read;
  std::string tokenizer = "byte";
  // Without spans and row ranges, which each document gets for itself.
  client::EncodeOptions options;
  std::vector<client::TokenSpan> row_ranges;  // of every document; sequence is 0
  std::string output;                         // empty: none; "-": standard output
  OutputFormat output_format = OutputFormat::kNpy;
  bool stream = false;  // by EncodeStream even what is short
  bool resume = false;
  bool json = false;
  bool quiet = false;
  bool similarity = false;
};
absl::StatusOr<EncodeArguments> ParseEncode(absl::Span<const std::string> arguments);
std::vector<OptionInfo> EncodeOptionInfos();
// Whether no tokenizer has a part in it.
bool OnlyIds(const EncodeArguments& arguments);
// `longwave stream`: `encode` of token rows, always by EncodeStream, always to an output.
absl::StatusOr<EncodeArguments> ParseStream(absl::Span<const std::string> arguments);
std::vector<OptionInfo> StreamOptionInfos();

struct EstimateArguments {
  std::string server = kDefaultServer;
  AccessArguments access;
  std::vector<std::string> inputs;  // token counts, or files
  std::string tokenizer = "byte";
  client::EncodeOptions options;
  bool json = false;
};
absl::StatusOr<EstimateArguments> ParseEstimate(absl::Span<const std::string> arguments);
std::vector<OptionInfo> EstimateOptionInfos();

struct InfoArguments {
  std::string server = kDefaultServer;
  AccessArguments access;
  std::string model;
  std::string model_version;
  bool json = false;
};
absl::StatusOr<InfoArguments> ParseInfo(absl::Span<const std::string> arguments);
std::vector<OptionInfo> InfoOptionInfos();

struct HealthArguments {
  std::string server = kDefaultServer;
  AccessArguments access;
  std::string service;
  absl::Duration timeout = absl::Seconds(5);
  bool quiet = false;
};
absl::StatusOr<HealthArguments> ParseHealth(absl::Span<const std::string> arguments);
std::vector<OptionInfo> HealthOptionInfos();

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_ARGUMENTS_H_
