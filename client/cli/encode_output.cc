#include "client/cli/encode_output.h"

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/journal_line.h"
#include "client/cli/names.h"
#include "client/version.h"

namespace longwave::cli {
namespace {

// A document's rows are made durable this often: a disk is asked, which takes milliseconds.
constexpr std::chrono::seconds kNoteEvery{1};

ElementType ElementTypeOf(v1::DataType dtype) {
  if (dtype == v1::DATA_TYPE_FP16) return ElementType::kFloat16;
  if (dtype == v1::DATA_TYPE_BF16) return ElementType::kBFloat16;
  return ElementType::kFloat32;
}

std::string RangesText(const std::vector<client::TokenSpan>& ranges) {
  return absl::StrJoin(ranges, ",", [](std::string* out, const client::TokenSpan& range) {
    absl::StrAppend(out, range.begin, ":", range.end);
  });
}

std::string WhatDiffers(const Document& document, const DocumentReport& report) {
  const bool renamed = JournalText(document.name) != report.name;
  return renamed ? absl::StrCat("document ", document.name, " comes where ", report.name, " was")
                 : absl::StrCat("document ", document.name, " is not what it was");
}

}  // namespace

Journal::Identity RunIdentity(const EncodeArguments& arguments, const v1::Model& model) {
  const client::EncodeOptions& options = arguments.options;
  return {
      {"program", std::string(client::Version())},
      {"model", model.name()},
      {"model_digest", model.weights_digest()},
      {"fingerprint", model.fingerprint()},
      {"pooling", PoolingName(options.pooling)},
      {"layers", absl::StrJoin(options.layers, ",")},
      {"dtype", absl::StrCat(options.dtype)},
      {"truncate_dim", absl::StrCat(options.truncate_dim)},
      {"normalize", options.normalize.has_value() ? absl::StrCat(*options.normalize) : "default"},
      {"truncate", absl::StrCat(options.truncation, " ", options.max_tokens)},
      {"route", RouteName(options.route)},
      {"row_stride", absl::StrCat(options.row_stride)},
      {"rows", RangesText(arguments.row_ranges)},
      {"format", absl::StrCat(static_cast<int>(arguments.output_format))}};
}

absl::Status EncodeOutput::Prepare(const v1::Model& model) {
  if (!arguments_.resume) return absl::OkStatus();
  if (absl::Status safe = CheckNothingLost(); !safe.ok()) return safe;
  auto journal = Journal::Open(arguments_.output, RunIdentity(arguments_, model));
  if (!journal.ok()) return journal.status();
  journal_ = *std::move(journal);
  return Load(journal_->records());
}

absl::Status EncodeOutput::CheckNothingLost() const {
  const std::string part = OutputFile::KeptPath(arguments_.output);
  const std::string journal = Journal::PathOf(arguments_.output);
  std::error_code error;
  const auto has_bytes = [&error](const std::string& path) {
    const uintmax_t bytes = std::filesystem::file_size(path, error);
    return !error && bytes > 0;
  };
  // A journal is begun before the rows are.
  if (has_bytes(journal) || !has_bytes(part)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(part, " is there already, and no ", journal,
                                                    " says what it is; remove it or move it away"));
}

std::string EncodeOutput::HowToBeginAnew() const {
  return absl::StrCat("give the same inputs, or remove ", Journal::PathOf(arguments_.output),
                      " and ", OutputFile::KeptPath(arguments_.output), " to begin anew");
}

absl::Status EncodeOutput::Load(const std::vector<JournalRecord>& records) {
  int64_t bytes = 0;
  for (const JournalRecord& record : records) {
    partial_.reset();
    if (record.kind == JournalRecord::Kind::kFinished) {
      std::error_code error;
      const bool renamed = !std::filesystem::exists(OutputFile::KeptPath(arguments_.output), error);
      finished_ = renamed && std::filesystem::file_size(arguments_.output, error) ==
                                 static_cast<uintmax_t>(record.bytes);
      continue;
    }
    bytes = record.bytes;
    if (record.kind == JournalRecord::Kind::kDone) done_.push_back(record);
    if (record.kind == JournalRecord::Kind::kPartial) partial_ = record;
  }
  if (finished_) return absl::OkStatus();
  auto file = OpenKept(bytes);
  if (!file.ok()) return file.status();
  auto writer = MakeRowWriter(*std::move(file), arguments_.output_format,
                              ElementTypeOf(arguments_.options.dtype));
  if (!writer.ok()) return writer.status();
  writer_ = *std::move(writer);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<OutputFile>> EncodeOutput::OpenKept(int64_t bytes) {
  auto file = OutputFile::CreateKept(arguments_.output, bytes);
  if (absl::IsOutOfRange(file.status()) && partial_.has_value()) {
    // The rows of a document that then failed were cut off, and the journal was not told any more.
    const int64_t begin_bytes = partial_->begin_bytes;
    partial_.reset();
    file = OutputFile::CreateKept(arguments_.output, begin_bytes);
  }
  if (!absl::IsOutOfRange(file.status())) return file;
  return absl::FailedPreconditionError(absl::StrCat(file.status().message(), "; remove it and ",
                                                    Journal::PathOf(arguments_.output),
                                                    " to begin anew"));
}

absl::StatusOr<std::optional<DocumentReport>> EncodeOutput::TakeDone(const Document& document) {
  const bool all_taken = taken_ == done_.size();
  if (all_taken && finished_) {
    return absl::FailedPreconditionError(absl::StrCat("document ", document.name,
                                                      " was not there when ", arguments_.output,
                                                      " was written; ", HowToBeginAnew()));
  }
  if (all_taken && !partial_.has_value()) return std::nullopt;
  const JournalRecord& record = all_taken ? *partial_ : done_[taken_];
  if (record.document_hash != HashDocument(document) ||
      record.report.name != JournalText(document.name)) {
    return absl::FailedPreconditionError(absl::StrCat(WhatDiffers(document, record.report),
                                                      " when ", arguments_.output, " was begun; ",
                                                      HowToBeginAnew()));
  }
  if (all_taken) return std::nullopt;
  ++taken_;
  if (record.report.status.ok() && !finished_) {
    writer_->Skip({.name = document.name,
                   .dim = record.report.dim,
                   .rows = record.report.rows,
                   .spans = document.spans});
  }
  DocumentReport report = record.report;
  report.name = document.name;
  return report;
}

absl::Status EncodeOutput::CheckAllTaken() const {
  const bool all_taken = taken_ == done_.size();
  if (all_taken && !partial_.has_value()) return absl::OkStatus();
  const JournalRecord& record = all_taken ? *partial_ : done_[taken_];
  return absl::FailedPreconditionError(
      absl::StrCat("the inputs end before document ", record.report.name, ", which was there when ",
                   arguments_.output, " was begun; ", HowToBeginAnew()));
}

absl::Status EncodeOutput::EnsureWriter() {
  if (writer_ != nullptr) return absl::OkStatus();
  std::unique_ptr<OutputFile> file;
  if (arguments_.output == "-") {
    file = OutputFile::CreatePipe(out_);
  } else {
    auto created = OutputFile::Create(arguments_.output);
    if (!created.ok()) return created.status();
    file = *std::move(created);
  }
  auto writer = MakeRowWriter(std::move(file), arguments_.output_format,
                              ElementTypeOf(arguments_.options.dtype));
  if (!writer.ok()) return writer.status();
  writer_ = *std::move(writer);
  return absl::OkStatus();
}

absl::Status EncodeOutput::Begin(DocumentRows document) {
  if (absl::Status made = EnsureWriter(); !made.ok()) return made;
  begin_bytes_ = writer_->bytes();
  noted_ = std::chrono::steady_clock::now();
  return writer_->Begin(std::move(document));
}

absl::Status EncodeOutput::BeginAgain(DocumentRows document) {
  begin_bytes_ = partial_->begin_bytes;
  noted_ = std::chrono::steady_clock::now();
  writer_->BeginAgain(std::move(document), begin_bytes_, partial_->report.rows);
  partial_.reset();
  return absl::OkStatus();
}

absl::Status EncodeOutput::Add(absl::Span<const float> values) { return writer_->Add(values); }

void EncodeOutput::End() { writer_->End(); }

absl::Status EncodeOutput::Abandon() { return writer_->Abandon(); }

absl::Status EncodeOutput::NoteDone(const Document& document, const DocumentReport& report) {
  if (journal_ == nullptr) return absl::OkStatus();
  if (partial_.has_value()) {
    // It failed before its rows could go on: those that there are have no place.
    absl::Status dropped = BeginAgain({.name = document.name, .dim = partial_->report.dim});
    if (dropped.ok()) dropped = Abandon();
    if (!dropped.ok()) return dropped;
  }
  waiting_.push_back({.kind = JournalRecord::Kind::kDone,
                      .report = report,
                      .document_hash = HashDocument(document),
                      .bytes = writer_->bytes()});
  return absl::OkStatus();
}

absl::Status EncodeOutput::NotePartial(const Document& document, const DocumentReport& report,
                                       const client::StreamShape& shape) {
  const auto now = std::chrono::steady_clock::now();
  if (journal_ == nullptr || now - noted_ < kNoteEvery) return absl::OkStatus();
  return KeepPartial(document, report, shape);
}

absl::Status EncodeOutput::KeepPartial(const Document& document, const DocumentReport& report,
                                       const client::StreamShape& shape) {
  noted_ = std::chrono::steady_clock::now();
  if (report.rows == 0) return absl::OkStatus();
  waiting_.push_back({.kind = JournalRecord::Kind::kPartial,
                      .report = report,
                      .document_hash = HashDocument(document),
                      .bytes = writer_->bytes(),
                      .begin_bytes = begin_bytes_,
                      .total_rows = shape.total_rows,
                      .fingerprint = shape.fingerprint});
  return Sync();
}

absl::Status EncodeOutput::Sync() {
  if (waiting_.empty()) return absl::OkStatus();
  absl::Status synced = writer_->Sync();
  if (synced.ok()) synced = journal_->Append(waiting_);
  waiting_.clear();
  return synced;
}

absl::Status EncodeOutput::Finish(const OutputProperties& properties) {
  if (finished_) return journal_->Remove();
  if (writer_ == nullptr) return absl::OkStatus();
  if (journal_ == nullptr) return writer_->Finish(properties);
  absl::Status status = writer_->Frame(properties);
  const JournalRecord last = {.kind = JournalRecord::Kind::kFinished, .bytes = writer_->bytes()};
  if (status.ok()) status = journal_->Append({last});
  if (status.ok()) status = writer_->Commit();
  return status.ok() ? journal_->Remove() : status;
}

absl::Status EncodeOutput::Discard() {
  writer_.reset();
  if (journal_ == nullptr) return absl::OkStatus();
  std::error_code ignored;
  std::filesystem::remove(OutputFile::KeptPath(arguments_.output), ignored);
  // Were it gone first, what is kept would be nobody's.
  return journal_->Remove();
}

}  // namespace longwave::cli
