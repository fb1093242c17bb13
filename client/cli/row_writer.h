#ifndef LONGWAVE_CLIENT_CLI_ROW_WRITER_H_
#define LONGWAVE_CLIENT_CLI_ROW_WRITER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "client/cli/output_file.h"
#include "client/options.h"

namespace longwave::cli {

enum class OutputFormat { kNpy, kJsonl, kSafetensors, kRaw };
absl::StatusOr<OutputFormat> ParseOutputFormat(absl::string_view name);
// By the name's ending.
std::optional<OutputFormat> OutputFormatOfPath(absl::string_view path);

// Type of the values in a file. Rows that came as fp16 or bf16 are kept in it without loss.
enum class ElementType { kFloat32, kFloat16, kBFloat16 };
int64_t ElementBytes(ElementType type);
// `values` as little-endian bytes of the type, behind `out`. Values that the type does not have
// exactly are cut towards zero.
void AppendElements(absl::Span<const float> values, ElementType type, std::string* out);

// Where rows come from, kept in the file where its format has a place for it.
using OutputProperties = std::vector<std::pair<std::string, std::string>>;

// A document whose rows follow.
struct DocumentRows {
  std::string name;
  int64_t dim = 0;
  int64_t rows = 0;  // how many there will be
  // Where each row is the vector of a part of the document: its tokens. Else empty.
  std::vector<client::TokenSpan> spans;
};

// Writes the rows of documents one after the other, as they come; nothing but the current rows is
// held in memory. All rows of a file are equally wide. The file appears when Finish has succeeded.
class RowWriter {
 public:
  virtual ~RowWriter() = default;

  // A document begins; its rows follow.
  absl::Status Begin(DocumentRows document);
  // Whole rows of the document begun.
  absl::Status Add(absl::Span<const float> values);
  void End();
  // A document whose rows are in the file already, from an earlier process.
  void Skip(DocumentRows document);
  // One whose first `rows` rows are, behind `begin_bytes`; the rest follows.
  void BeginAgain(DocumentRows document, int64_t begin_bytes, int64_t rows);
  // As if the document had not begun.
  absl::Status Abandon();
  // Frame and Commit.
  absl::Status Finish(const OutputProperties& properties);
  // Nothing is missing but the file's name.
  absl::Status Frame(const OutputProperties& properties) { return WriteFrame(properties); }
  absl::Status Commit() { return file_->Commit(); }
  // All rows so far outlive the process and the machine's going off.
  absl::Status Sync() { return file_->Sync(); }

  // Rows of the documents that have ended, and of the one begun.
  int64_t rows() const { return rows_; }
  int64_t bytes() const { return file_->size(); }

 protected:
  explicit RowWriter(std::unique_ptr<OutputFile> file) : file_(std::move(file)) {}

  // Behind Begin, for formats with something before the rows of each document.
  virtual absl::Status BeginRows() { return absl::OkStatus(); }
  virtual absl::Status AddRows(absl::Span<const float> values) = 0;
  // Writes what stands before and behind the rows.
  virtual absl::Status WriteFrame(const OutputProperties& properties) = 0;

  OutputFile& file() { return *file_; }
  int64_t dim() const { return dim_; }
  const DocumentRows& document() const { return document_; }
  // Rows of the document begun.
  int64_t document_rows() const { return rows_ - first_row_; }
  // Documents that have ended: name and first row.
  const std::vector<std::pair<std::string, int64_t>>& documents() const { return documents_; }
  // Of all rows of those, or empty.
  const std::vector<client::TokenSpan>& spans() const { return spans_; }

 private:
  const std::unique_ptr<OutputFile> file_;
  int64_t dim_ = -1;  // of the first document
  int64_t rows_ = 0;
  DocumentRows document_;
  int64_t first_row_ = 0;
  int64_t begin_bytes_ = 0;
  std::vector<std::pair<std::string, int64_t>> documents_;
  std::vector<client::TokenSpan> spans_;
};

// A writer into `file`: from the beginning if that is empty, else behind what an earlier process
// left there, which Skip tells of.
absl::StatusOr<std::unique_ptr<RowWriter>> MakeRowWriter(std::unique_ptr<OutputFile> file,
                                                         OutputFormat format, ElementType type);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_ROW_WRITER_H_
