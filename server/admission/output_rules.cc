#include "server/admission/output_rules.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/admission/field_error.h"

namespace longwave {
namespace {

// Pooling numbers of the API; 0 is the model's default.
constexpr int kDefaultPooling = 0;
constexpr std::array<EnumRow<Pooling>, 7> kPoolings = {
    {{kDefaultPooling, "POOLING_UNSPECIFIED", Pooling::kMean},
     {1, "POOLING_MEAN", Pooling::kMean},
     {2, "POOLING_CLS", Pooling::kFirst},
     {3, "POOLING_LAST", Pooling::kLast},
     {4, "POOLING_MAX", Pooling::kMax},
     {5, "POOLING_NONE", Pooling::kRows},
     {6, "POOLING_SPANS", Pooling::kSpans}}};

constexpr std::array<EnumRow<OutputType>, 6> kDtypes = {
    {{0, "DATA_TYPE_UNSPECIFIED", OutputType::kFp32},
     {1, "DATA_TYPE_FP32", OutputType::kFp32},
     {2, "DATA_TYPE_FP16", OutputType::kFp16},
     {3, "DATA_TYPE_BF16", OutputType::kBf16},
     {4, "DATA_TYPE_INT8", OutputType::kInt8},
     {5, "DATA_TYPE_BINARY", OutputType::kBinary}}};

absl::StatusOr<std::vector<int>> ReadLayers(const EncodeRequestData& request,
                                            const EncoderInfo& info) {
  const int64_t known = info.layers + 1;  // the embeddings are layer 0
  if (static_cast<int64_t>(request.layers.size()) > known) {
    return FieldError(ErrorReason::kInvalidField, "output.layers",
                      Got(absl::StrCat(request.layers.size(), " layers"), known),
                      "more layers than the model has");
  }
  std::vector<int> layers;
  for (size_t i = 0; i < request.layers.size(); ++i) {
    const int64_t asked = request.layers[i];
    const std::string field = absl::StrCat("output.layers[", i, "]");
    const int64_t layer = asked < 0 ? known + asked : asked;
    if (layer < 0 || layer >= known) {
      return FieldError(ErrorReason::kInvalidField, field,
                        Got(asked, absl::StrCat("[", -known, ", ", info.layers, "]")),
                        "the model has no such layer");
    }
    if (std::find(layers.begin(), layers.end(), static_cast<int>(layer)) != layers.end()) {
      return FieldError(ErrorReason::kInvalidField, field, Got(asked, "each layer once"),
                        "a layer is asked for twice");
    }
    layers.push_back(static_cast<int>(layer));
  }
  return layers;
}

absl::Status CheckTruncateDim(const EncodeRequestData& request, const EncoderInfo& info) {
  const int64_t asked = request.truncate_dim;
  if (asked > info.dim) {
    return FieldError(ErrorReason::kInvalidField, "output.truncate_dim", Got(asked, info.dim),
                      "the model's vectors are shorter");
  }
  if (asked == 0 || asked == info.dim || request.allow_undeclared_dim) return absl::OkStatus();
  const std::vector<int64_t>& declared = info.truncate_dims;
  if (std::find(declared.begin(), declared.end(), asked) != declared.end()) return absl::OkStatus();
  return FieldError(
      ErrorReason::kInvalidField, "output.truncate_dim",
      Got(asked,
          absl::StrCat(absl::StrJoin(declared, ", "), declared.empty() ? "" : ", ", info.dim)),
      "the model does not promise useful vectors of this size; allow_undeclared_dim takes it");
}

absl::StatusOr<OutputSpec> ReadCommon(const EncodeRequestData& request, const EncoderInfo& info) {
  OutputSpec output;
  absl::StatusOr<Pooling> pooling = MapEnum("output.pooling", request.pooling, kPoolings);
  if (!pooling.ok()) return std::move(pooling).status();
  output.pooling = request.pooling == kDefaultPooling ? info.default_pooling : *pooling;
  absl::StatusOr<std::vector<int>> layers = ReadLayers(request, info);
  if (!layers.ok()) return std::move(layers).status();
  output.layers = *std::move(layers);
  if (absl::Status status = CheckTruncateDim(request, info); !status.ok()) return status;
  output.truncate_dim = request.truncate_dim;
  output.normalize = request.normalize.value_or(info.default_normalize);
  if (output.pooling != Pooling::kSpans && !request.spans.empty()) {
    return FieldError(
        ErrorReason::kConflictingFields, "output.spans", {},
        absl::StrCat("spans are given, but pooling is ", PoolingName(output.pooling)));
  }
  if (output.pooling != Pooling::kRows && request.rows.has_value()) {
    return FieldError(ErrorReason::kConflictingFields, "output.rows", {},
                      absl::StrCat("rows are given, but pooling is ", PoolingName(output.pooling)));
  }
  return output;
}

absl::Status CheckCount(absl::string_view field, size_t count, const RequestLimits& limits) {
  if (static_cast<int64_t>(count) <= limits.max_spans) return absl::OkStatus();
  return FieldError(ErrorReason::kRequestTooLarge, field, Got(count, limits.max_spans),
                    "too many entries in one request");
}

// The range within the kept part of its sequence.
absl::StatusOr<TokenRange> ReadRange(absl::string_view field, const RequestedSpan& span,
                                     absl::Span<const SequenceShape> shapes) {
  if (span.sequence >= shapes.size()) {
    return FieldError(ErrorReason::kInvalidField, absl::StrCat(field, ".sequence"),
                      Got(span.sequence, shapes.size() - 1), "there is no such sequence");
  }
  const SequenceShape& shape = shapes[span.sequence];
  const int64_t end = shape.first_kept + shape.tokens_used;
  if (span.end > end) {
    return FieldError(ErrorReason::kInvalidField, absl::StrCat(field, ".end"), Got(span.end, end),
                      "a range ends beyond its sequence");
  }
  if (span.begin >= span.end) {
    return FieldError(ErrorReason::kInvalidField, absl::StrCat(field, ".begin"),
                      Got(span.begin, absl::StrCat("below end ", span.end)), "a range is empty");
  }
  if (span.begin < shape.first_kept) {
    return FieldError(ErrorReason::kInvalidField, absl::StrCat(field, ".begin"),
                      Got(span.begin, absl::StrCat("at least ", shape.first_kept)),
                      "a range begins in the part that truncation cuts off");
  }
  return TokenRange{span.begin - shape.first_kept, span.end - shape.first_kept};
}

absl::Status ReadSpans(const EncodeRequestData& request, absl::Span<const SequenceShape> shapes,
                       const RequestLimits& limits, std::vector<OutputSpec>& outputs) {
  if (absl::Status status = CheckCount("output.spans", request.spans.size(), limits);
      !status.ok()) {
    return status;
  }
  for (size_t i = 0; i < request.spans.size(); ++i) {
    absl::StatusOr<TokenRange> range =
        ReadRange(absl::StrCat("output.spans[", i, "]"), request.spans[i], shapes);
    if (!range.ok()) return std::move(range).status();
    outputs[request.spans[i].sequence].spans.push_back(*range);
  }
  for (size_t s = 0; s < outputs.size(); ++s) {
    if (!outputs[s].spans.empty()) continue;
    return FieldError(ErrorReason::kMissingField, "output.spans", {},
                      absl::StrCat("pooling is spans, and sequence ", s, " has none"));
  }
  return absl::OkStatus();
}

// Indices as ranges: neighbours become one. Precondition: ascending.
std::vector<TokenRange> ToRanges(absl::Span<const uint32_t> indices, int64_t first_kept) {
  std::vector<TokenRange> ranges;
  for (const int64_t index : indices) {
    const int64_t row = index - first_kept;
    if (!ranges.empty() && ranges.back().end == row) {
      ++ranges.back().end;
    } else {
      ranges.push_back({row, row + 1});
    }
  }
  return ranges;
}

absl::Status CheckIndices(const EncodeRequestData& request,
                          absl::Span<const SequenceShape> shapes) {
  const absl::string_view field = "output.rows.indices";
  const std::vector<uint32_t>& indices = request.rows->indices;
  if (request.rows_indices_bytes % sizeof(uint32_t) != 0) {
    return FieldError(ErrorReason::kInvalidField, field,
                      Got(absl::StrCat(request.rows_indices_bytes, " bytes"), "indices of 4"),
                      "the bytes are not a whole number of indices");
  }
  for (size_t i = 1; i < indices.size(); ++i) {
    if (indices[i] <= indices[i - 1]) {
      return FieldError(ErrorReason::kInvalidField, absl::StrCat(field, "[", i, "]"),
                        Got(indices[i], absl::StrCat("above ", indices[i - 1])),
                        "indices are not ascending");
    }
  }
  if (indices.empty()) return absl::OkStatus();
  for (size_t s = 0; s < shapes.size(); ++s) {
    const int64_t begin = shapes[s].first_kept;
    const int64_t end = begin + shapes[s].tokens_used;
    const bool first_bad = indices.front() < begin;
    if (!first_bad && indices.back() < end) continue;
    const size_t bad =
        first_bad ? 0 : std::lower_bound(indices.begin(), indices.end(), end) - indices.begin();
    return FieldError(ErrorReason::kInvalidField, absl::StrCat(field, "[", bad, "]"),
                      Got(indices[bad], absl::StrCat("[", begin, ", ", end - 1, "]")),
                      absl::StrCat("sequence ", s, " has no such row"));
  }
  return absl::OkStatus();
}

absl::Status ReadIndices(const EncodeRequestData& request, absl::Span<const SequenceShape> shapes,
                         std::vector<OutputSpec>& outputs) {
  if (!request.rows->ranges.empty() || request.rows->stride > 1) {
    return FieldError(ErrorReason::kConflictingFields, "output.rows.indices", {},
                      "indices are given together with ranges or a stride");
  }
  if (absl::Status status = CheckIndices(request, shapes); !status.ok()) return status;
  for (size_t s = 0; s < outputs.size(); ++s) {
    outputs[s].row_ranges = ToRanges(request.rows->indices, shapes[s].first_kept);
  }
  return absl::OkStatus();
}

absl::Status ReadRanges(const EncodeRequestData& request, absl::Span<const SequenceShape> shapes,
                        std::vector<OutputSpec>& outputs) {
  const std::vector<RequestedSpan>& ranges = request.rows->ranges;
  for (size_t i = 0; i < ranges.size(); ++i) {
    absl::StatusOr<TokenRange> range =
        ReadRange(absl::StrCat("output.rows.ranges[", i, "]"), ranges[i], shapes);
    if (!range.ok()) return std::move(range).status();
    outputs[ranges[i].sequence].row_ranges.push_back(*range);
  }
  for (size_t s = 0; s < outputs.size(); ++s) {
    outputs[s].row_stride = std::max<int64_t>(1, request.rows->stride);
    // A sequence that no range names would have no rows at all; in OutputSpec none means all.
    if (!ranges.empty() && outputs[s].row_ranges.empty()) {
      return FieldError(ErrorReason::kMissingField, "output.rows.ranges", {},
                        absl::StrCat("sequence ", s, " has no range"));
    }
    // Overlapping ranges would make a small request yield any amount of rows.
    const int64_t rows = outputs[s].RowCount(shapes[s].tokens_used);
    if (rows > shapes[s].tokens_used) {
      return FieldError(ErrorReason::kRequestTooLarge, "output.rows.ranges",
                        Got(absl::StrCat(rows, " rows"), shapes[s].tokens_used),
                        absl::StrCat("more rows than sequence ", s, " has"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadRows(const EncodeRequestData& request, absl::Span<const SequenceShape> shapes,
                      const RequestLimits& limits, std::vector<OutputSpec>& outputs) {
  if (!request.rows.has_value()) return absl::OkStatus();
  absl::Status status = CheckCount("output.rows.ranges", request.rows->ranges.size(), limits);
  if (status.ok()) {
    status = CheckCount("output.rows.indices", request.rows->indices.size(), limits);
  }
  if (!status.ok()) return status;
  return request.rows_indices_bytes > 0 ? ReadIndices(request, shapes, outputs)
                                        : ReadRanges(request, shapes, outputs);
}

// Bytes of one row in a reply, its int8 scale included.
int64_t ReplyRowBytes(OutputType dtype, int64_t row_dim) {
  switch (dtype) {
    case OutputType::kFp32:
      return 4 * row_dim;
    case OutputType::kFp16:
    case OutputType::kBf16:
      return 2 * row_dim;
    case OutputType::kInt8:
      return row_dim + 4;
    case OutputType::kBinary:
      return row_dim / 8;
  }
  return 4 * row_dim;
}

}  // namespace

absl::StatusOr<OutputPlan> CheckOutput(const EncodeRequestData& request, const EncoderInfo& info,
                                       absl::Span<const SequenceShape> shapes,
                                       const RequestLimits& limits) {
  absl::StatusOr<OutputSpec> common = ReadCommon(request, info);
  if (!common.ok()) return std::move(common).status();
  absl::StatusOr<OutputType> dtype = MapEnum("output.dtype", request.dtype, kDtypes);
  if (!dtype.ok()) return std::move(dtype).status();
  OutputPlan plan;
  plan.dtype = *dtype;
  plan.row_dim = (common->truncate_dim == 0 ? info.dim : common->truncate_dim) *
                 std::max<int64_t>(1, static_cast<int64_t>(common->layers.size()));
  if (plan.dtype == OutputType::kBinary && plan.row_dim % 8 != 0) {
    return FieldError(ErrorReason::kInvalidField, "output.dtype",
                      Got("DATA_TYPE_BINARY", "a row of 8, 16, 24, ... values"),
                      absl::StrCat("a row of ", plan.row_dim, " signs does not fill bytes"));
  }
  plan.outputs.assign(shapes.size(), *common);
  absl::Status status;
  if (common->pooling == Pooling::kSpans) status = ReadSpans(request, shapes, limits, plan.outputs);
  if (common->pooling == Pooling::kRows) status = ReadRows(request, shapes, limits, plan.outputs);
  if (!status.ok()) return status;
  for (size_t s = 0; s < shapes.size(); ++s) {
    plan.total_rows += plan.outputs[s].RowCount(shapes[s].tokens_used);
  }
  return plan;
}

absl::Status CheckReplySize(const OutputPlan& plan, const RequestLimits& limits) {
  int64_t bytes = 0;
  if (__builtin_mul_overflow(plan.total_rows, ReplyRowBytes(plan.dtype, plan.row_dim), &bytes)) {
    bytes = std::numeric_limits<int64_t>::max();
  }
  if (bytes <= limits.max_unary_reply_bytes) return absl::OkStatus();
  return FieldError(
      ErrorReason::kRequestTooLarge, "output",
      Got(absl::StrCat(plan.total_rows, " rows, ", bytes, " bytes"), limits.max_unary_reply_bytes),
      "the rows do not fit into one reply: use EncodeStream");
}

}  // namespace longwave
