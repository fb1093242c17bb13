#include "client/cli/encode_command.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/encode_outcome.h"
#include "client/cli/error_text.h"
#include "client/cli/names.h"
#include "client/cli/printable.h"
#include "client/cli/spans.h"
#include "client/request_plan.h"

namespace longwave::cli {
namespace {

constexpr size_t kFirstValues = 3;
// Documents this long travel by EncodeStream even if a unary request could hold them: it tells of
// its progress, and servers give it more time than a unary call.
constexpr int64_t kStreamTokens = 1 << 17;
// Short documents are held until there are enough to keep all requests in flight busy.
constexpr size_t kMaxWaiting = 4096;

}  // namespace

EncodeCommand::EncodeCommand(EncodeArguments arguments, std::istream& in, std::ostream& out,
                             std::ostream& err)
    : arguments_(std::move(arguments)),
      in_(in),
      out_(out),
      err_(err),
      progress_(stderr, !arguments_.quiet),
      output_(arguments_, out) {}

ExitCode EncodeCommand::Run() {
  if (const ExitCode prepared = Prepare(); prepared != kExitOk) return prepared;
  const ExitCode encoded = EncodeAll();
  progress_.Clear();
  if (encoded != kExitOk) return encoded;
  if (stopped_.has_value()) return Stop();
  if (server_gone_) err_ << "longwave: the server is gone; what had not begun was not tried\n";
  return Finish();
}

ExitCode EncodeCommand::EncodeAll() {
  const auto refuse = [this](const absl::Status& status) {
    err_ << "longwave: " << status.message() << "\n";
    return kExitUsage;
  };
  bool go_on = true;
  while (go_on) {
    std::optional<Document> document = reader_->Next();
    if (!document.has_value()) {
      if (const absl::Status all = output_.CheckAllTaken(); !all.ok()) return refuse(all);
      break;
    }
    // As it was when it was noted.
    ClipChunks(&*document);
    auto done = output_.TakeDone(*document);
    if (!done.ok()) return refuse(done.status());
    if (done->has_value()) {
      if (first_failure_.ok()) first_failure_ = (*done)->status;
      report_.documents.push_back(**std::move(done));
    } else {
      go_on = Take(*std::move(document));
    }
  }
  if (go_on) EncodeWaiting();
  return kExitOk;
}

ExitCode EncodeCommand::Prepare() {
  auto tokenizer = MakeTokenizer(arguments_.tokenizer);
  if (!tokenizer.ok()) {
    err_ << "longwave: " << tokenizer.status().message() << "\n";
    return kExitUsage;
  }
  tokenizer_ = *std::move(tokenizer);
  if (const ExitCode connected = Connect(); connected != kExitOk) return connected;
  report_.similarity = arguments_.similarity;
  arguments_.options.keep_going = true;
  if (const ExitCode checked = CheckTokenizer(*tokenizer_); checked != kExitOk) return checked;
  ListInputs();
  const absl::Status prepared = output_.Prepare(report_.model);
  if (prepared.ok()) return kExitOk;
  err_ << "longwave: " << prepared.message() << "\n";
  return absl::IsFailedPrecondition(prepared) ? kExitUsage : kExitFailed;
}

void EncodeCommand::ListInputs() {
  ReadOptions options = arguments_.read;
  const std::string& output = arguments_.output;
  // A folder of inputs may be the output's own.
  options.filter.without = {output, OutputFile::KeptPath(output), Journal::PathOf(output)};
  reader_.emplace(arguments_.inputs, std::move(options), tokenizer_.get(), in_);
}

ExitCode EncodeCommand::Connect() {
  auto client = cli::Connect(arguments_.server, arguments_.access);
  if (!client.ok()) {
    err_ << "longwave: " << client.status().message() << "\n";
    return kExitUsage;
  }
  client_ = *std::move(client);
  auto model = client_->GetModel(arguments_.options.model, arguments_.options.model_version);
  if (!model.ok()) {
    err_ << "longwave: " << DescribeError(model.status(), arguments_.server) << "\n";
    return ExitCodeOf(model.status());
  }
  report_.model = *std::move(model);
  return kExitOk;
}

ExitCode EncodeCommand::CheckTokenizer(const Tokenizer& tokenizer) {
  // Ids made for another vocabulary would be encoded without complaint and mean nothing.
  const std::string& wanted = report_.model.tokenizer_kind();
  if (wanted.empty() || wanted == tokenizer.kind() || OnlyIds(arguments_)) return kExitOk;
  err_ << "longwave: the model's tokens come from a tokenizer of kind " << wanted << ", not "
       << tokenizer.kind() << "; name it with --tokenizer, or give ids\n";
  return kExitUsage;
}

bool EncodeCommand::Take(Document document) {
  if (document.status.ok() && document.ids.empty()) {
    document.status = absl::InvalidArgumentError("the document is empty");
  }
  if (document.status.ok() && NeedsStream(document)) {
    // Behind those that wait: outputs and reports are in the order of the inputs.
    return EncodeWaiting() && EncodeStreamed(document);
  }
  const client::EncodeOptions& options = arguments_.options;
  waiting_tokens_ += static_cast<int64_t>(document.ids.size());
  waiting_.push_back(std::move(document));
  const bool enough = waiting_.size() >= kMaxWaiting ||
                      waiting_tokens_ >= options.tokens_per_request * options.max_in_flight;
  return enough ? EncodeWaiting() : true;
}

void EncodeCommand::ClipChunks(Document* document) const {
  const client::EncodeOptions& options = arguments_.options;
  const uint32_t tokens = static_cast<uint32_t>(document->ids.size());
  uint32_t kept = report_.model.max_tokens() > 0 ? report_.model.max_tokens() : tokens;
  if (options.max_tokens > 0) kept = std::min(kept, options.max_tokens);
  if (!document->chunked || kept >= tokens) return;
  if (options.truncation == v1::TRUNCATION_SIDE_END) {
    document->spans = ClipSpans(document->spans, 0, kept);
  } else if (options.truncation == v1::TRUNCATION_SIDE_START) {
    document->spans = ClipSpans(document->spans, tokens - kept, tokens);
  }
  if (document->spans.empty()) {
    document->status = absl::InvalidArgumentError("no chunk is left of what is not cut off");
  }
}

bool EncodeCommand::NeedsStream(const Document& document) const {
  const auto tokens = static_cast<int64_t>(document.ids.size());
  // What has begun as a stream goes on as one.
  if (arguments_.stream || tokens >= kStreamTokens || output_.partial().has_value()) return true;
  const client::EncodeOptions options = OptionsFor({&document});
  const int64_t rows =
      client::CountRows({static_cast<uint32_t>(tokens)}, options, report_.model)[0];
  return !client::CheckUnary(tokens, rows, options, report_.model).ok();
}

client::EncodeOptions EncodeCommand::OptionsFor(absl::Span<const Document* const> documents) const {
  client::EncodeOptions options = arguments_.options;
  options.row_ranges = RepeatSpans(arguments_.row_ranges, documents.size());
  for (uint32_t sequence = 0; sequence < documents.size(); ++sequence) {
    for (client::TokenSpan span : documents[sequence]->spans) {
      span.sequence = sequence;
      options.spans.push_back(span);
    }
  }
  return options;
}

bool EncodeCommand::EncodeWaiting() {
  const std::vector<Document> documents = std::exchange(waiting_, {});
  waiting_tokens_ = 0;
  std::vector<client::TokenSequence> sequences;
  std::vector<const Document*> encoded;
  for (const Document& document : documents) {
    if (!document.status.ok()) continue;
    sequences.push_back(document.ids);
    encoded.push_back(&document);
  }
  absl::StatusOr<client::EncodeResult> result = client::EncodeResult();
  if (!sequences.empty()) {
    progress_.Start(documents.size() == 1 ? documents[0].name
                                          : absl::StrCat(documents.size(), " documents"));
    result = client_->Encode(sequences, OptionsFor(encoded));
    if (result.ok() && result->rows() > 0) {
      if (absl::Status same = CheckDigest(result->model_digest()); !same.ok()) result = same;
    }
  }
  bool go_on = true;
  size_t sequence = 0;
  for (const Document& document : documents) {
    DocumentReport report{.name = document.name, .status = document.status};
    input_failed_ = input_failed_ || !document.status.ok();
    if (document.status.ok()) FillReport(document, result, sequence++, &report);
    go_on = Record(document, std::move(report)) && go_on;
    if (stopped_.has_value()) break;
  }
  return Sync() && go_on;
}

void EncodeCommand::FillReport(const Document& document,
                               const absl::StatusOr<client::EncodeResult>& result, size_t sequence,
                               DocumentReport* report) {
  report->status = result.status();
  if (!result.ok()) return;
  const client::SequenceResult& info = result->sequences()[sequence];
  report->status = info.status;
  if (!info.status.ok()) return;
  report->tokens = info.tokens_in;
  report->tokens_used = info.tokens_used;
  report->truncated = info.truncated;
  report->route = RouteName(info.route);
  NoteTimes(result->requests()[info.request].timings, report);
  report->status = WriteRows(document, result->sequence_values(sequence), result->dim(), report);
}

absl::Status EncodeCommand::CheckDigest(const std::string& digest) const {
  if (digest == report_.model.weights_digest()) return absl::OkStatus();
  return client::MakeError(absl::StatusCode::kFailedPrecondition,
                           {.reason = "MODEL_CHANGED",
                            .field = "model_digest",
                            .value = digest,
                            .limit = report_.model.weights_digest()},
                           "the model was replaced meanwhile; its vectors must not be mixed with "
                           "the earlier ones");
}

bool EncodeCommand::EncodeStreamed(const Document& document) {
  progress_.Start(document.name);
  DocumentReport report{
      .name = document.name, .tokens = static_cast<int64_t>(document.ids.size()), .streamed = true};
  client::StreamStart start;
  if (const auto& partial = output_.partial(); partial.has_value()) {
    report.first_values = partial->report.first_values;
    report.rows = start.first_row = partial->report.rows;
    start.shape = {.total_rows = partial->total_rows,
                   .dim = partial->report.dim,
                   .fingerprint = partial->fingerprint};
  }
  auto reader = client_->OpenRows(
      document.ids, OptionsFor({&document}),
      [this](double fraction) { progress_.SetFraction(fraction); }, start);
  report.status = reader.status();
  if (reader.ok()) report.status = ReadRows(document, **reader, &report);
  return Record(document, std::move(report)) && Sync();
}

absl::Status EncodeCommand::BeginStream(const Document& document, const client::StreamShape& shape,
                                        DocumentReport* report) {
  report->dim = shape.dim;
  if (!output_.wanted()) return absl::OkStatus();
  report->first_row = output_.rows();
  DocumentRows rows = {
      .name = document.name, .dim = shape.dim, .rows = shape.total_rows, .spans = document.spans};
  return output_.partial().has_value() ? output_.BeginAgain(std::move(rows))
                                       : output_.Begin(std::move(rows));
}

absl::Status EncodeCommand::ReadRows(const Document& document, client::RowReader& reader,
                                     DocumentReport* report) {
  const int64_t total = reader.shape().total_rows;
  const bool writing = output_.wanted();
  absl::Status status = broken_ = BeginStream(document, reader.shape(), report);
  if (!status.ok()) return status;
  progress_.SetRows(report->rows, total);
  while (status.ok()) {
    const absl::StatusOr<client::RowView> rows = reader.Next();
    status = rows.status();
    if (!status.ok() || rows->rows == 0) break;
    report->rows += rows->rows;
    NoteRows(rows->values, report);
    if (writing) broken_ = status = output_.Add(rows->values);
    if (status.ok() && writing) {
      broken_ = status = output_.NotePartial(document, *report, reader.shape());
    }
    progress_.SetRows(report->rows, total);
  }
  if (status.ok()) status = CheckDigest(reader.summary().model_digest());
  if (!status.ok()) {
    if (!writing || !broken_.ok()) return status;
    // What has come is worth keeping if the rest may come later.
    broken_ = arguments_.resume && MayPass(status)
                  ? output_.KeepPartial(document, *report, reader.shape())
                  : output_.Abandon();
    return status;
  }
  if (writing) output_.End();
  NoteStream(reader, report);
  return absl::OkStatus();
}

void EncodeCommand::NoteRows(absl::Span<const float> values, DocumentReport* report) {
  if (report->first_values.empty()) {
    const auto first = values.subspan(0, kFirstValues);
    report->first_values.assign(first.begin(), first.end());
  }
  if (arguments_.similarity && report->vector.empty()) {
    report->vector.assign(values.begin(), values.end());
  }
}

absl::Status EncodeCommand::WriteRows(const Document& document, absl::Span<const float> values,
                                      int64_t dim, DocumentReport* report) {
  report->dim = dim;
  report->rows = dim > 0 ? static_cast<int64_t>(values.size()) / dim : 0;
  NoteRows(values, report);
  if (!output_.wanted() || !broken_.ok()) return broken_;
  report->first_row = output_.rows();
  absl::Status status = output_.Begin(
      {.name = document.name, .dim = dim, .rows = report->rows, .spans = document.spans});
  if (status.ok()) status = output_.Add(values);
  if (status.ok()) output_.End();
  broken_ = status;
  return status;
}

bool EncodeCommand::Record(const Document& document, DocumentReport report) {
  if (!report.status.ok()) {
    // A server that is gone fails every further document: it is told of once.
    const bool gone = absl::IsUnavailable(report.status);
    if (!(gone && server_gone_)) Complain(report.name, report.status);
    server_gone_ = server_gone_ || gone;
    if (first_failure_.ok()) first_failure_ = report.status;
    if (arguments_.resume && broken_.ok() && MayPass(report.status)) {
      stopped_ = document.status.ok() ? ExitCodeOf(report.status) : kExitUsage;
      return false;
    }
  }
  if (broken_.ok()) broken_ = output_.NoteDone(document, report);
  report_.documents.push_back(std::move(report));
  return broken_.ok() && !server_gone_;
}

bool EncodeCommand::Sync() {
  if (broken_.ok()) broken_ = output_.Sync();
  return broken_.ok();
}

void EncodeCommand::Complain(const std::string& name, const absl::Status& status) {
  progress_.Clear();
  err_ << "longwave: " << Printable(name) << ": " << DescribeError(status, arguments_.server)
       << "\n";
}

ExitCode EncodeCommand::Stop() {
  err_ << "longwave: stopped; " << OutputFile::KeptPath(arguments_.output) << " and "
       << Journal::PathOf(arguments_.output) << " are kept, and the same command goes on there\n";
  return *stopped_;
}

void EncodeCommand::PrintReport() {
  if (arguments_.quiet) return;
  // Rows and words do not go into one pipe.
  std::ostream& to = arguments_.output == "-" ? err_ : out_;
  to << (arguments_.json ? FormatJson(report_) : FormatTable(report_));
  to.flush();
}

ExitCode EncodeCommand::Finish() {
  const auto succeeded =
      std::count_if(report_.documents.begin(), report_.documents.end(),
                    [](const DocumentReport& document) { return document.status.ok(); });
  if (broken_.ok() && output_.wanted() && succeeded > 0) {
    broken_ = output_.Finish({{"model", report_.model.name()},
                              {"model_version", report_.model.version()},
                              {"model_digest", report_.model.weights_digest()},
                              {"fingerprint", report_.model.fingerprint()},
                              {"pooling", PoolingName(arguments_.options.pooling)}});
    if (broken_.ok() && arguments_.output != "-") report_.output = arguments_.output;
  }
  if (broken_.ok() && succeeded == 0) broken_ = output_.Discard();
  if (!broken_.ok()) {
    err_ << "longwave: " << broken_.message() << "\n";
    return kExitFailed;
  }
  PrintReport();
  if (report_.documents.empty()) {
    err_ << "longwave: there was no document in the input\n";
    return kExitUsage;
  }
  if (first_failure_.ok()) return kExitOk;
  if (succeeded > 0) return kExitPartial;
  if (server_gone_) return kExitUnavailable;
  return input_failed_ ? kExitUsage : kExitRefused;
}

}  // namespace longwave::cli
