#include "client/cli/report.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/printable.h"
#include "client/cli/short_name.h"
#include "client/error_info.h"

namespace longwave::cli {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxNameWidth = 40;

std::vector<const DocumentReport*> Succeeded(const EncodeReport& report) {
  std::vector<const DocumentReport*> succeeded;
  for (const DocumentReport& document : report.documents) {
    if (document.status.ok()) succeeded.push_back(&document);
  }
  return succeeded;
}

std::string TableName(const DocumentReport& document) {
  return ShortName(Printable(document.name), kMaxNameWidth);
}

size_t NameWidth(const std::vector<const DocumentReport*>& documents) {
  size_t width = 8;
  for (const DocumentReport* document : documents) {
    width = std::max(width, TableName(*document).size());
  }
  return width;
}

std::string FirstValues(const DocumentReport& document) {
  std::string text;
  for (const float value : document.first_values) absl::StrAppendFormat(&text, " %9.6f", value);
  return text;
}

void AppendSimilarityTable(const std::vector<const DocumentReport*>& documents, int width,
                           std::string* text) {
  absl::StrAppendFormat(text, "\n%-*s", width, "cosine");
  for (size_t i = 0; i < documents.size(); ++i) absl::StrAppendFormat(text, " %8d", i + 1);
  absl::StrAppend(text, "\n");
  for (size_t i = 0; i < documents.size(); ++i) {
    absl::StrAppendFormat(text, "%-*s", width, TableName(*documents[i]));
    for (const DocumentReport* other : documents) {
      absl::StrAppendFormat(text, " %8.5f", CosineSimilarity(documents[i]->vector, other->vector));
    }
    absl::StrAppend(text, "\n");
  }
}

// As a double that prints as the float's shortest text, not with the double's sixteen digits.
double Shortest(float value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  double shortest = value;
  std::from_chars(text, end, shortest);
  return shortest;
}

ordered_json DocumentJson(const DocumentReport& document) {
  ordered_json json;
  json["document"] = document.name;
  if (!document.status.ok()) {
    const client::ErrorInfo info = client::GetErrorInfo(document.status);
    json["status"] = absl::StatusCodeToString(document.status.code());
    json["message"] = std::string(document.status.message());
    json["reason"] = info.reason;
    json["field"] = info.field;
    json["value"] = info.value;
    json["limit"] = info.limit;
    return json;
  }
  json["status"] = "OK";
  json["tokens"] = document.tokens;
  json["tokens_used"] = document.tokens_used;
  json["truncated"] = document.truncated;
  json["dim"] = document.dim;
  json["rows"] = document.rows;
  if (document.first_row >= 0) json["first_row"] = document.first_row;
  json["route"] = document.route;
  json["queue_ms"] = document.queue_ms;
  json["compute_ms"] = document.compute_ms;
  json["total_ms"] = document.total_ms;
  json["streamed"] = document.streamed;
  json["resumes"] = document.resumes;
  json["first_values"] = ordered_json::array();
  for (const float value : document.first_values) json["first_values"].push_back(Shortest(value));
  return json;
}

}  // namespace

double CosineSimilarity(absl::Span<const float> a, absl::Span<const float> b) {
  double dot = 0;
  double norm_a = 0;
  double norm_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    dot += double{a[i]} * b[i];
    norm_a += double{a[i]} * a[i];
    norm_b += double{b[i]} * b[i];
  }
  if (norm_a == 0 || norm_b == 0) return 0;
  // Rounding must not show a similarity above one.
  return std::clamp(dot / std::sqrt(norm_a) / std::sqrt(norm_b), -1.0, 1.0);
}

std::string FormatTable(const EncodeReport& report) {
  const auto documents = Succeeded(report);
  if (documents.empty()) return "";
  const int width = static_cast<int>(NameWidth(documents));
  std::string text =
      absl::StrFormat("%-*s %9s %5s %9s %-13s %10s %12s  %s\n", width, "document", "tokens", "dim",
                      "rows", "route", "queue ms", "compute ms", "first values");
  for (const DocumentReport* document : documents) {
    absl::StrAppendFormat(&text, "%-*s %9d %5d %9d %-13s %10.1f %12.1f %s%s\n", width,
                          TableName(*document), document->tokens_used, document->dim,
                          document->rows, document->route, document->queue_ms, document->compute_ms,
                          FirstValues(*document), document->truncated ? "  (truncated)" : "");
  }
  if (report.similarity) AppendSimilarityTable(documents, width, &text);
  if (!report.output.empty()) {
    absl::StrAppend(&text, "\nwritten to ", Printable(report.output), "\n");
  }
  return text;
}

std::string FormatJson(const EncodeReport& report) {
  ordered_json json;
  json["model"] = {{"name", report.model.name()},
                   {"version", report.model.version()},
                   {"digest", report.model.weights_digest()},
                   {"fingerprint", report.model.fingerprint()}};
  if (!report.output.empty()) json["output"] = report.output;
  json["documents"] = ordered_json::array();
  for (const DocumentReport& document : report.documents) {
    json["documents"].push_back(DocumentJson(document));
  }
  if (report.similarity) {
    const auto documents = Succeeded(report);
    json["similarity"] = ordered_json::array();
    for (const DocumentReport* a : documents) {
      ordered_json row = ordered_json::array();
      for (const DocumentReport* b : documents) {
        row.push_back(CosineSimilarity(a->vector, b->vector));
      }
      json["similarity"].push_back(row);
    }
  }
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace longwave::cli
