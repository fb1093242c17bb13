#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <string>

#include "absl/strings/string_view.h"
#include "client/cli/chunking.h"
#include "client/cli/journal_line.h"
#include "client/cli/record_source.h"
#include "client/top/top_report.h"
#include "client/top/top_text.h"

// What the program `longwave` reads from others: inputs of every format with every way to cut them
// into chunks, lines of a journal, and a metrics page. The first byte chooses.
namespace longwave {
namespace {

using cli::ChunkUnit;
using cli::InputFormat;

constexpr InputFormat kFormats[] = {InputFormat::kText, InputFormat::kLines, InputFormat::kJsonl,
                                    InputFormat::kIds,  InputFormat::kFasta, InputFormat::kNpy};
constexpr ChunkUnit kUnits[] = {ChunkUnit::kNone, ChunkUnit::kLines, ChunkUnit::kSentences,
                                ChunkUnit::kParagraphs};

void Require(bool holds) {
  if (!holds) std::abort();
}

// A document that is good has tokens, and chunks made of them lie in them, each with something.
void CheckDocument(const cli::Document& document) {
  if (!document.status.ok() || !document.chunked) return;
  Require(!document.spans.empty());
  for (const client::TokenSpan& span : document.spans) {
    Require(span.begin < span.end && span.end <= document.ids.size());
  }
}

void ReadDocuments(uint8_t choice, const std::string& text) {
  static const auto tokenizer = cli::MakeTokenizer("byte").value();
  const int way = choice / 6;
  cli::SpanOptions spans = {.wanted = way >= 12};
  spans.chunks.unit = kUnits[way % 4];
  spans.chunks.tokens = way / 4 % 3 * 3;
  if (spans.chunks.unit == ChunkUnit::kNone) spans.chunks.overlap = spans.chunks.tokens / 2;
  const cli::DocumentMaker maker(tokenizer.get(), spans);
  std::istringstream in(text);
  const auto source = cli::MakeRecordSource(kFormats[choice % 6], "input", in, maker);
  // Each document takes a byte at least; an array's header none.
  size_t documents = 0;
  while (auto document = source->Next()) {
    CheckDocument(*document);
    Require(++documents <= text.size() + 1);
  }
}

void ReadMetrics(const std::string& text) {
  const size_t half = text.find('\0');
  const auto before = top::MetricPage::Parse(absl::string_view(text).substr(0, half));
  const auto now = top::MetricPage::Parse(
      half == std::string::npos ? "" : absl::string_view(text).substr(half + 1));
  if (!before.ok() || !now.ok()) return;
  const top::TopReport report = top::MakeReport(&*before, *now, 1);
  Require(top::JsonLine(report).back() == '\n' && top::LogLine(report).back() == '\n');
  Require(!top::ScreenLines(report, "here", 1e9).empty());
}

void ReadJournal(const std::string& text) {
  cli::ParseIdentityLine(text);
  const auto record = cli::ParseRecordLine(text);
  if (!record.has_value()) return;
  // What was read can be written, and is then the same.
  std::string line = cli::JournalLine(*record);
  line.pop_back();
  const auto again = cli::ParseRecordLine(line);
  Require(again.has_value() && again->report.name == record->report.name &&
          again->bytes == record->bytes);
}

}  // namespace
}  // namespace longwave

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 0xFF) {
    longwave::ReadMetrics(text);
  } else if (data[0] == 0xFE) {
    longwave::ReadJournal(text);
  } else {
    longwave::ReadDocuments(data[0], text);
  }
  return 0;
}
