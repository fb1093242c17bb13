#ifndef LONGWAVE_CLIENT_CLI_FASTA_SOURCE_H_
#define LONGWAVE_CLIENT_CLI_FASTA_SOURCE_H_

#include <cstdint>
#include <istream>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/cli/record_source.h"

namespace longwave::cli {

// FASTA: a line ">id description" and lines of sequence behind it are one document, named by its
// id (without one: by input and line). The lines are joined; white space within them is left out,
// a `*` at the sequence's end (the end of a translation) too. Case is kept. Lines that begin with
// ";" are comments.
//
// A record is bad if its sequence is empty or has anything but letters, `-`, `.` and `*`, and so is
// sequence before the first header; others are read all the same.
class FastaSource final : public RecordSource {
 public:
  // `in` and `maker` outlive the source.
  FastaSource(std::string name, std::istream& in, const DocumentMaker& maker)
      : name_(std::move(name)), in_(in), maker_(maker) {}

  std::optional<Document> Next() override;

 private:
  // The next line that is no comment and not empty, without its end.
  bool ReadLine();
  std::string NameOf(absl::string_view header) const;
  absl::Status AppendSequence(std::string* sequence) const;

  const std::string name_;
  std::istream& in_;
  const DocumentMaker& maker_;
  std::string line_;
  int64_t line_number_ = 0;
  bool told_ = false;       // that the input could not be read to its end
  bool have_line_ = false;  // line_ is read and not used: the next record's header
};

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_FASTA_SOURCE_H_
