#include "server/admission/validator.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/admission/field_error.h"
#include "server/admission/output_rules.h"
#include "server/admission/token_rules.h"

namespace longwave {
namespace {

// Longest sequence that a caller may send down a quadratic route.
constexpr int64_t kMaxQuadraticTokens = 16384;
constexpr size_t kMaxModelNameBytes = 63;
constexpr char kModelNameRule[] = "[a-z0-9][a-z0-9._-]{0,62} without \"..\"";

constexpr std::array<EnumRow<Priority>, 3> kPriorities = {
    {{0, "PRIORITY_UNSPECIFIED", Priority::kInteractive},
     {1, "PRIORITY_INTERACTIVE", Priority::kInteractive},
     {2, "PRIORITY_BATCH", Priority::kBatch}}};

constexpr std::array<EnumRow<Route>, 6> kRoutes = {
    {{0, "ROUTE_UNSPECIFIED", Route::kAuto},
     {1, "ROUTE_DIRECT", Route::kDirect},
     {2, "ROUTE_TILES", Route::kTiles},
     {3, "ROUTE_CHUNKWISE", Route::kChunkwise},
     {4, "ROUTE_FFT", Route::kFft},
     {5, "ROUTE_INTERPOLATION", Route::kInterpolation}}};

bool IsModelName(absl::string_view name) {
  const auto is_alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (name.empty() || name.size() > kMaxModelNameBytes || !is_alnum(name.front())) return false;
  for (const char c : name) {
    if (!is_alnum(c) && c != '.' && c != '_' && c != '-') return false;
  }
  return name.find("..") == absl::string_view::npos;
}

absl::Status CheckModel(const EncodeRequestData& request, const EncoderInfo& info) {
  if (!request.model.empty() && !IsModelName(request.model)) {
    return FieldError(ErrorReason::kInvalidModelName, "model",
                      Got(ShownText(request.model), kModelNameRule), "no model has such a name");
  }
  if (!request.model.empty() && request.model != info.model) {
    return FieldError(ErrorReason::kUnknownModel, "model",
                      Got(ShownText(request.model), ShownText(info.model)),
                      "this server does not have the model");
  }
  if (!request.model_version.empty() && request.model_version != info.version) {
    return FieldError(ErrorReason::kUnknownModel, "model_version",
                      Got(ShownText(request.model_version), ShownText(info.version)),
                      "this server does not have the version");
  }
  if (!request.tokenizer_fingerprint.empty() &&
      request.tokenizer_fingerprint != info.tokenizer_fingerprint) {
    return FieldError(
        ErrorReason::kInvalidField, "tokenizer_fingerprint",
        Got(ShownText(request.tokenizer_fingerprint), ShownText(info.tokenizer_fingerprint)),
        "the ids come from another tokenizer than the model's");
  }
  if (request.deterministic && !info.deterministic) {
    return FieldError(ErrorReason::kNotImplemented, "deterministic", {},
                      absl::StrCat("results on ", info.device,
                                   " are not yet promised to be independent of batch mates"));
  }
  return absl::OkStatus();
}

absl::Status CheckText(absl::string_view field, absl::string_view text, int64_t max_bytes) {
  if (static_cast<int64_t>(text.size()) > max_bytes) {
    return FieldError(ErrorReason::kInvalidField, field,
                      Got(absl::StrCat(text.size(), " bytes"), max_bytes), "the text is too long");
  }
  if (!IsUtf8(text)) {
    return FieldError(ErrorReason::kInvalidField, field, Got(ShownText(text), "UTF-8"),
                      "the text is not UTF-8");
  }
  return absl::OkStatus();
}

absl::StatusOr<Route> CheckRouteOverride(const EncodeRequestData& request, const Encoder& encoder,
                                         absl::Span<const SequenceShape> shapes,
                                         const RequestLimits& limits) {
  const absl::string_view field = "route_override";
  absl::StatusOr<Route> route = MapEnum(field, request.route_override, kRoutes);
  if (!route.ok() || *route == Route::kAuto) return route;
  if (!limits.allow_route_override) {
    return FieldError(ErrorReason::kRouteOverrideDisabled, field, Got(RouteName(*route), "auto"),
                      "this server was not started with --allow_route_override");
  }
  const bool quadratic = *route == Route::kDirect || *route == Route::kTiles;
  for (const SequenceShape& shape : shapes) {
    if (quadratic && shape.tokens_used > kMaxQuadraticTokens) {
      return FieldError(
          ErrorReason::kRouteNotExact, field,
          Got(RouteName(*route), absl::StrCat("sequences of ", kMaxQuadraticTokens, " tokens")),
          absl::StrCat("the route is too costly for ", shape.tokens_used, " tokens"));
    }
    absl::Status status = encoder.CheckRoute(shape.tokens_used, *route);
    if (!status.ok()) return status;
  }
  return route;
}

absl::StatusOr<ValidatedRequest> Check(const EncodeRequestData& request, const Encoder& encoder,
                                       const RequestLimits& limits, bool stream) {
  const EncoderInfo& info = encoder.Info();
  absl::Status status = CheckModel(request, info);
  if (status.ok())
    status = CheckText("request_id", request.request_id, limits.max_request_id_bytes);
  if (status.ok()) status = CheckText("tenant", request.tenant, limits.max_request_id_bytes);
  if (!status.ok()) return status;
  absl::StatusOr<Priority> priority = MapEnum("priority", request.priority, kPriorities);
  if (!priority.ok()) return std::move(priority).status();
  absl::StatusOr<std::vector<SequenceShape>> shapes =
      CheckTokenShape(request, info, limits, stream);
  if (!shapes.ok()) return std::move(shapes).status();
  absl::StatusOr<OutputPlan> plan = CheckOutput(request, info, *shapes, limits);
  if (!plan.ok()) return std::move(plan).status();
  if (!stream) status = CheckReplySize(*plan, limits);
  if (!status.ok()) return status;
  absl::StatusOr<Route> route = CheckRouteOverride(request, encoder, *shapes, limits);
  if (!route.ok()) return std::move(route).status();

  ValidatedRequest valid{.route = *route,
                         .dtype = plan->dtype,
                         .priority = *priority,
                         .request_id = request.request_id,
                         .row_dim = plan->row_dim,
                         .total_rows = plan->total_rows};
  valid.sequences.reserve(shapes->size());
  for (size_t s = 0; s < shapes->size(); ++s) {
    const SequenceShape& shape = (*shapes)[s];
    valid.total_tokens += shape.tokens_used;
    valid.sequences.push_back({.output = std::move(plan->outputs[s]),
                               .tokens_in = shape.tokens_in,
                               .first_kept = shape.first_kept,
                               .tokens_used = shape.tokens_used,
                               .truncated = shape.tokens_used < shape.tokens_in});
  }
  return valid;
}

}  // namespace

absl::Status RequestLimits::Validate() const {
  struct Range {
    const char* flag;
    int64_t value;
    int64_t low;
    int64_t high;
  };
  // A reply stays below gRPC's 4 MiB; what the payload leaves of it holds a SequenceInfo for each
  // sequence.
  const std::array<Range, 5> ranges = {
      {{"--max_sequences", max_sequences, 1, 8192},
       {"--max_request_tokens", max_request_tokens, 1, 1 << 28},
       {"--max_unary_reply_bytes", max_unary_reply_bytes, 1024, (4 << 20) - (256 << 10)},
       {"--max_spans", max_spans, 1, 1 << 24},
       {"--max_request_id_bytes", max_request_id_bytes, 0, 4096}}};
  std::vector<std::string> problems;
  for (const Range& range : ranges) {
    if (range.value >= range.low && range.value <= range.high) continue;
    problems.push_back(absl::StrCat(range.flag, " = ", range.value, " is not in [", range.low, ", ",
                                    range.high, "]"));
  }
  if (problems.empty()) return absl::OkStatus();
  return MakeError(ErrorReason::kInvalidField, absl::StrJoin(problems, "; "));
}

absl::StatusOr<ValidatedRequest> ValidateEncodeRequest(const EncodeRequestData& request,
                                                       const Encoder& encoder,
                                                       const RequestLimits& limits,
                                                       const AdmitFunction& admit) {
  absl::StatusOr<ValidatedRequest> valid = Check(request, encoder, limits, /*stream=*/false);
  if (!valid.ok()) return valid;
  absl::Status status = admit == nullptr ? absl::OkStatus() : admit(*valid);
  if (!status.ok()) return status;
  status = ReadTokenIds(request, encoder.Info().vocab_size, valid->sequences);
  if (!status.ok()) return status;
  return valid;
}

absl::StatusOr<ValidatedRequest> ValidateStreamOpen(const EncodeRequestData& request,
                                                    const Encoder& encoder,
                                                    const RequestLimits& limits) {
  return Check(request, encoder, limits, /*stream=*/true);
}

}  // namespace longwave
