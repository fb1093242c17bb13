#include "client/cli/journal_line.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "client/crc32c.h"
#include "client/error_info.h"

namespace longwave::cli {
namespace {

using nlohmann::json;

constexpr size_t kCrcDigits = 8;

std::string WithCrc(const json& object) {
  const std::string text = object.dump(-1, ' ', false, json::error_handler_t::replace);
  return absl::StrFormat("%08x %s\n", client::Crc32c(text), text);
}

// Discarded unless the line is what WithCrc makes.
json WithoutCrc(absl::string_view line) {
  uint32_t crc = 0;
  if (line.size() <= kCrcDigits + 1 || line[kCrcDigits] != ' ' ||
      !absl::SimpleHexAtoi(line.substr(0, kCrcDigits), &crc)) {
    return json(json::value_t::discarded);
  }
  const absl::string_view text = line.substr(kCrcDigits + 1);
  if (client::Crc32c(text) != crc) return json(json::value_t::discarded);
  return json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
}

json ReportJson(const DocumentReport& report) {
  const client::ErrorInfo info = client::GetErrorInfo(report.status);
  return {{"name", report.name},
          {"code", static_cast<int>(report.status.code())},
          {"message", std::string(report.status.message())},
          {"reason", info.reason},
          {"field", info.field},
          {"value", info.value},
          {"limit", info.limit},
          {"tokens", report.tokens},
          {"tokens_used", report.tokens_used},
          {"truncated", report.truncated},
          {"rows", report.rows},
          {"dim", report.dim},
          {"first_row", report.first_row},
          {"route", report.route},
          {"queue_ms", report.queue_ms},
          {"compute_ms", report.compute_ms},
          {"total_ms", report.total_ms},
          {"streamed", report.streamed},
          {"resumes", report.resumes},
          {"first_values", report.first_values}};
}

absl::Status StatusOfJson(const json& object) {
  const auto code = static_cast<absl::StatusCode>(object.at("code").get<int>());
  const std::string message = object.at("message");
  if (object.at("reason") == "") return absl::Status(code, message);
  return client::MakeError(code,
                           {.reason = object.at("reason"),
                            .field = object.at("field"),
                            .value = object.at("value"),
                            .limit = object.at("limit")},
                           message);
}

DocumentReport ReportOfJson(const json& object) {
  return {.name = object.at("name"),
          .status = StatusOfJson(object),
          .tokens = object.at("tokens"),
          .tokens_used = object.at("tokens_used"),
          .truncated = object.at("truncated"),
          .rows = object.at("rows"),
          .dim = object.at("dim"),
          .first_row = object.at("first_row"),
          .route = object.at("route"),
          .queue_ms = object.at("queue_ms"),
          .compute_ms = object.at("compute_ms"),
          .total_ms = object.at("total_ms"),
          .streamed = object.at("streamed"),
          .resumes = object.at("resumes"),
          .first_values = object.at("first_values")};
}

}  // namespace

std::string JournalText(const std::string& text) {
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace));
}

std::string JournalLine(const Journal::Identity& identity) {
  return WithCrc({{"longwave_journal", identity}});
}

std::string JournalLine(const JournalRecord& record) {
  return WithCrc({{"kind", static_cast<int>(record.kind)},
                  {"report", ReportJson(record.report)},
                  {"document_hash", record.document_hash},
                  {"bytes", record.bytes},
                  {"begin_bytes", record.begin_bytes},
                  {"total_rows", record.total_rows},
                  {"fingerprint", record.fingerprint}});
}

std::optional<Journal::Identity> ParseIdentityLine(absl::string_view line) try {
  const json object = WithoutCrc(line);
  if (!object.is_object()) return std::nullopt;
  return object.at("longwave_journal").get<Journal::Identity>();
} catch (const json::exception&) {
  return std::nullopt;
}

std::optional<JournalRecord> ParseRecordLine(absl::string_view line) try {
  const json object = WithoutCrc(line);
  if (!object.is_object()) return std::nullopt;
  const int kind = object.at("kind");
  if (kind < 0 || kind > static_cast<int>(JournalRecord::Kind::kFinished)) return std::nullopt;
  return JournalRecord{.kind = static_cast<JournalRecord::Kind>(kind),
                       .report = ReportOfJson(object.at("report")),
                       .document_hash = object.at("document_hash"),
                       .bytes = object.at("bytes"),
                       .begin_bytes = object.at("begin_bytes"),
                       .total_rows = object.at("total_rows"),
                       .fingerprint = object.at("fingerprint")};
} catch (const json::exception&) {
  return std::nullopt;
}

}  // namespace longwave::cli
