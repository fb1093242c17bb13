#ifndef LONGWAVE_CLIENT_CLI_JOURNAL_H_
#define LONGWAVE_CLIENT_CLI_JOURNAL_H_

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/cli/document_maker.h"
#include "client/cli/report.h"

namespace longwave::cli {

// How far an output with --resume has come.
struct JournalRecord {
  enum class Kind {
    kDone,      // a document, whether it succeeded or not
    kPartial,   // the first rows of a document; it holds until the next record of any kind
    kFinished,  // nothing is left to do but to give the output its name; `bytes` is its size
  };
  Kind kind = Kind::kDone;
  DocumentReport report;
  uint64_t document_hash = 0;  // HashDocument
  int64_t bytes = 0;           // of the output's kept file behind this
  // kPartial: of the whole, and who computes it.
  int64_t begin_bytes = 0;
  int64_t total_rows = 0;
  std::string fingerprint;
};

// Ids and spans as a number that others have with 2^-64 by accident; no defence against intent.
uint64_t HashDocument(const Document& document);

// A file of lines, each with its CRC-32C before it: first what the run is, then its records. One
// that a dying process or machine did not write to its end is dropped with all behind it.
class Journal {
 public:
  using Identity = std::map<std::string, std::string>;

  static std::string PathOf(const std::string& output) { return output + ".journal"; }
  // Opens or begins the journal of `output`. FAILED_PRECONDITION: it belongs to another run, and
  // the text names what differs; or another process has it open; or the file is no journal.
  static absl::StatusOr<std::unique_ptr<Journal>> Open(const std::string& output,
                                                       const Identity& identity);
  // Whoever wants it removed calls Remove.
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // Of earlier processes.
  const std::vector<JournalRecord>& records() const { return records_; }
  // They outlive the machine's going off when this returns.
  absl::Status Append(absl::Span<const JournalRecord> records);
  // That it is gone outlives it too.
  absl::Status Remove();

 private:
  Journal(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}
  // Reads all that is whole, and cuts off the rest.
  absl::Status Load(const Identity& identity);
  // Drops what lies behind `size` bytes.
  absl::Status StartAt(int64_t size, const Identity& identity);
  absl::Status Write(const std::string& lines);
  absl::Status Error(const char* what) const;

  const std::string path_;
  std::FILE* file_;
  std::vector<JournalRecord> records_;
};

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_JOURNAL_H_
