#ifndef LONGWAVE_CLIENT_CLI_JOURNAL_LINE_H_
#define LONGWAVE_CLIENT_CLI_JOURNAL_LINE_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "client/cli/journal.h"

// How the lines of a journal are written and read.
namespace longwave::cli {

// `text` as it comes back from a line: JSON has no place for bytes that are not UTF-8, which names
// of files may hold.
std::string JournalText(const std::string& text);

// With CRC and end of line.
std::string JournalLine(const Journal::Identity& identity);
std::string JournalLine(const JournalRecord& record);

// nullopt: not such a line, or a damaged one.
std::optional<Journal::Identity> ParseIdentityLine(absl::string_view line);
std::optional<JournalRecord> ParseRecordLine(absl::string_view line);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_JOURNAL_LINE_H_
