#include "client/cli/encode_command.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/error_text.h"
#include "client/cli/names.h"
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

double Milliseconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) * 1e3 + duration.nanos() / 1e6;
}

void NoteTimes(const v1::StageTimings& timings, DocumentReport* report) {
  report->queue_ms = Milliseconds(timings.queue());
  report->compute_ms = Milliseconds(timings.compute());
  report->total_ms = Milliseconds(timings.total());
}

ElementType ElementTypeOf(v1::DataType dtype) {
  if (dtype == v1::DATA_TYPE_FP16) return ElementType::kFloat16;
  if (dtype == v1::DATA_TYPE_BF16) return ElementType::kBFloat16;
  return ElementType::kFloat32;
}

}  // namespace

EncodeCommand::EncodeCommand(EncodeArguments arguments, std::istream& in, std::ostream& out,
                             std::ostream& err)
    : arguments_(std::move(arguments)),
      in_(in),
      out_(out),
      err_(err),
      progress_(stderr, !arguments_.quiet) {}

ExitCode EncodeCommand::Run() {
  if (const ExitCode prepared = Prepare(); prepared != kExitOk) return prepared;
  DocumentReader reader(arguments_.inputs, arguments_.input_format, tokenizer_.get(), in_);
  bool go_on = true;
  while (go_on) {
    std::optional<Document> document = reader.Next();
    if (!document.has_value()) break;
    go_on = Take(*std::move(document));
  }
  if (go_on) EncodeWaiting();
  progress_.Clear();
  if (server_gone_) err_ << "longwave: the server is gone; what had not begun was not tried\n";
  return Finish();
}

ExitCode EncodeCommand::Prepare() {
  auto tokenizer = MakeTokenizer(arguments_.tokenizer);
  if (!tokenizer.ok()) {
    err_ << "longwave: " << tokenizer.status().message() << "\n";
    return kExitUsage;
  }
  tokenizer_ = *std::move(tokenizer);
  auto client = Connect(arguments_.server, arguments_.access);
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
  report_.similarity = arguments_.similarity;
  arguments_.options.keep_going = true;
  return CheckTokenizer(*tokenizer_);
}

ExitCode EncodeCommand::CheckTokenizer(const Tokenizer& tokenizer) {
  // Ids made for another vocabulary would be encoded without complaint and mean nothing.
  const std::string& wanted = report_.model.tokenizer_kind();
  if (wanted.empty() || wanted == tokenizer.kind() ||
      arguments_.input_format == InputFormat::kIds) {
    return kExitOk;
  }
  err_ << "longwave: the model's tokens come from a tokenizer of kind " << wanted << ", not "
       << tokenizer.kind() << "; name it with --tokenizer, or give --input-format ids\n";
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

bool EncodeCommand::NeedsStream(const Document& document) const {
  const auto tokens = static_cast<int64_t>(document.ids.size());
  if (arguments_.stream || tokens >= kStreamTokens) return true;
  client::EncodeOptions options = arguments_.options;
  options.spans = arguments_.spans;
  const int64_t rows =
      client::CountRows({static_cast<uint32_t>(tokens)}, options, report_.model)[0];
  return !client::CheckUnary(tokens, rows, options, report_.model).ok();
}

bool EncodeCommand::EncodeWaiting() {
  const std::vector<Document> documents = std::exchange(waiting_, {});
  waiting_tokens_ = 0;
  std::vector<client::TokenSequence> sequences;
  for (const Document& document : documents) {
    if (document.status.ok()) sequences.push_back(document.ids);
  }
  absl::StatusOr<client::EncodeResult> result = client::EncodeResult();
  if (!sequences.empty()) {
    progress_.Start(documents.size() == 1 ? documents[0].name
                                          : absl::StrCat(documents.size(), " documents"));
    client::EncodeOptions options = arguments_.options;
    options.spans = RepeatSpans(arguments_.spans, sequences.size());
    result = client_->Encode(sequences, options);
    if (result.ok() && result->rows() > 0) {
      if (absl::Status same = CheckDigest(result->model_digest()); !same.ok()) result = same;
    }
  }
  bool go_on = true;
  size_t sequence = 0;
  for (const Document& document : documents) {
    DocumentReport report{.name = document.name, .status = document.status};
    input_failed_ = input_failed_ || !document.status.ok();
    if (document.status.ok()) FillReport(result, sequence++, &report);
    go_on = Record(std::move(report)) && go_on;
  }
  return go_on;
}

void EncodeCommand::FillReport(const absl::StatusOr<client::EncodeResult>& result, size_t sequence,
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
  report->status = WriteRows(result->sequence_values(sequence), result->dim(), report);
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
  client::EncodeOptions options = arguments_.options;
  options.spans = arguments_.spans;
  DocumentReport report{
      .name = document.name, .tokens = static_cast<int64_t>(document.ids.size()), .streamed = true};
  auto reader = client_->OpenRows(document.ids, options,
                                  [this](double fraction) { progress_.SetFraction(fraction); });
  report.status = reader.status();
  if (reader.ok()) report.status = ReadRows(**reader, &report);
  return Record(std::move(report));
}

absl::Status EncodeCommand::ReadRows(client::RowReader& reader, DocumentReport* report) {
  const int64_t total = reader.shape().total_rows;
  absl::Status status = EnsureWriter();
  const bool writing = writer_ != nullptr;
  if (status.ok() && writing) {
    report->first_row = writer_->rows();
    broken_ = status = writer_->Begin(report->name, reader.shape().dim);
  }
  if (!status.ok()) return status;
  progress_.SetRows(0, total);
  while (status.ok()) {
    const absl::StatusOr<client::RowView> rows = reader.Next();
    status = rows.status();
    if (!status.ok() || rows->rows == 0) break;
    report->dim = rows->dim;
    report->rows += rows->rows;
    NoteRows(rows->values, report);
    if (writing) broken_ = status = writer_->Add(rows->values);
    progress_.SetRows(report->rows, total);
  }
  if (status.ok()) status = CheckDigest(reader.summary().model_digest());
  if (!status.ok()) {
    if (writing && broken_.ok()) broken_ = writer_->Abandon();
    return status;
  }
  if (writing) writer_->End();
  const v1::StreamDone& done = reader.summary();
  report->resumes = reader.resumes();
  if (done.sequences_size() > 0) {
    report->tokens_used = done.sequences(0).tokens_used();
    report->truncated = done.sequences(0).truncated();
    report->route = RouteName(done.sequences(0).route());
  }
  NoteTimes(done.timings(), report);
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

absl::Status EncodeCommand::EnsureWriter() {
  if (arguments_.output.empty() || writer_ != nullptr || !broken_.ok()) return broken_;
  auto writer = MakeRowWriter(arguments_.output, arguments_.output_format,
                              ElementTypeOf(arguments_.options.dtype));
  broken_ = writer.status();
  if (writer.ok()) writer_ = *std::move(writer);
  return broken_;
}

absl::Status EncodeCommand::WriteRows(absl::Span<const float> values, int64_t dim,
                                      DocumentReport* report) {
  report->dim = dim;
  report->rows = dim > 0 ? static_cast<int64_t>(values.size()) / dim : 0;
  NoteRows(values, report);
  absl::Status status = EnsureWriter();
  if (!status.ok() || writer_ == nullptr) return status;
  report->first_row = writer_->rows();
  status = writer_->Begin(report->name, dim);
  if (status.ok()) status = writer_->Add(values);
  if (status.ok()) writer_->End();
  broken_ = status;
  return status;
}

bool EncodeCommand::Record(DocumentReport report) {
  if (!report.status.ok()) {
    // A server that is gone fails every further document: it is told of once.
    const bool gone = absl::IsUnavailable(report.status);
    if (!(gone && server_gone_)) Complain(report.name, report.status);
    server_gone_ = server_gone_ || gone;
    if (first_failure_.ok()) first_failure_ = report.status;
  }
  report_.documents.push_back(std::move(report));
  return broken_.ok() && !server_gone_;
}

void EncodeCommand::Complain(const std::string& name, const absl::Status& status) {
  progress_.Clear();
  err_ << "longwave: " << name << ": " << DescribeError(status, arguments_.server) << "\n";
}

ExitCode EncodeCommand::Finish() {
  const auto succeeded =
      std::count_if(report_.documents.begin(), report_.documents.end(),
                    [](const DocumentReport& document) { return document.status.ok(); });
  if (broken_.ok() && writer_ != nullptr && succeeded > 0) {
    broken_ = writer_->Finish({{"model", report_.model.name()},
                               {"model_version", report_.model.version()},
                               {"model_digest", report_.model.weights_digest()},
                               {"fingerprint", report_.model.fingerprint()},
                               {"pooling", PoolingName(arguments_.options.pooling)}});
    if (broken_.ok()) report_.output = arguments_.output;
  }
  writer_.reset();
  if (!broken_.ok()) {
    err_ << "longwave: " << broken_.message() << "\n";
    return kExitFailed;
  }
  if (!arguments_.quiet) out_ << (arguments_.json ? FormatJson(report_) : FormatTable(report_));
  out_.flush();
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
