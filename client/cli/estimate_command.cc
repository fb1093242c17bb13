#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"
#include "client/cli/documents.h"
#include "client/cli/error_text.h"
#include "client/cli/names.h"
#include "client/cli/printable.h"
#include "client/client.h"

namespace longwave::cli {
namespace {

// A number is a length; anything else a file, whose documents are counted.
absl::StatusOr<std::vector<uint32_t>> Lengths(const EstimateArguments& arguments,
                                              std::istream& in) {
  std::vector<uint32_t> lengths;
  std::vector<std::string> files;
  for (const std::string& input : arguments.inputs) {
    uint32_t tokens = 0;
    if (absl::SimpleAtoi(input, &tokens)) {
      lengths.push_back(tokens);
    } else {
      files.push_back(input);
    }
  }
  if (files.empty()) return lengths;
  auto tokenizer = MakeTokenizer(arguments.tokenizer);
  if (!tokenizer.ok()) return tokenizer.status();
  DocumentReader reader(files, {}, tokenizer->get(), in);
  while (std::optional<Document> document = reader.Next()) {
    if (!document->status.ok()) return document->status;
    lengths.push_back(static_cast<uint32_t>(document->ids.size()));
  }
  return lengths;
}

std::string RouteList(const v1::EstimateEncodeResponse& estimate) {
  return absl::StrJoin(estimate.routes(), ", ", [](std::string* out, int route) {
    out->append(RouteName(static_cast<v1::Route>(route)));
  });
}

std::string Text(const v1::EstimateEncodeResponse& estimate) {
  return absl::StrFormat(
      "tokens             %d\npredicted seconds  %.3f\nexpected wait      %.3f s\n"
      "peak memory        %.1f MiB\nslices             %d\nroutes             %s\n"
      "would be taken     %s\n",
      estimate.tokens(), estimate.predicted_seconds(), estimate.expected_wait_seconds(),
      static_cast<double>(estimate.peak_bytes()) / (1 << 20), estimate.slices(),
      RouteList(estimate), estimate.admissible() ? "yes" : absl::StrCat("no: ", estimate.reason()));
}

std::string Json(const v1::EstimateEncodeResponse& estimate) {
  nlohmann::ordered_json json;
  json["tokens"] = estimate.tokens();
  json["predicted_seconds"] = estimate.predicted_seconds();
  json["expected_wait_seconds"] = estimate.expected_wait_seconds();
  json["peak_bytes"] = estimate.peak_bytes();
  json["slices"] = estimate.slices();
  json["routes"] = nlohmann::ordered_json::array();
  for (const int route : estimate.routes()) {
    json["routes"].push_back(RouteName(static_cast<v1::Route>(route)));
  }
  json["admissible"] = estimate.admissible();
  json["reason"] = estimate.reason();
  return json.dump(2) + "\n";
}

}  // namespace

ExitCode RunEstimate(const EstimateArguments& arguments, std::istream& in, std::ostream& out,
                     std::ostream& err) {
  const absl::StatusOr<std::vector<uint32_t>> lengths = Lengths(arguments, in);
  if (!lengths.ok()) {
    err << "longwave: " << lengths.status().message() << "\n";
    return kExitUsage;
  }
  auto client = Connect(arguments.server, arguments.access);
  if (!client.ok()) {
    err << "longwave: " << client.status().message() << "\n";
    return kExitUsage;
  }
  const auto estimate = (*client)->Estimate(*lengths, arguments.options);
  if (!estimate.ok()) {
    err << "longwave: " << DescribeError(estimate.status(), arguments.server) << "\n";
    return ExitCodeOf(estimate.status());
  }
  out << (arguments.json ? Json(*estimate) : PrintableLines(Text(*estimate)));
  return kExitOk;
}

}  // namespace longwave::cli
