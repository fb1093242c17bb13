#include "model/api/encoder.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"

namespace longwave {
namespace {

absl::Status Broken(absl::string_view what) { return MakeError(ErrorReason::kInternal, what); }

absl::Status CheckRange(TokenRange range, int64_t tokens, int sequence) {
  if (range.begin >= 0 && range.begin < range.end && range.end <= tokens) return absl::OkStatus();
  return Broken(absl::StrCat("range [", range.begin, ", ", range.end, ") of sequence ", sequence,
                             " is not within its ", tokens, " tokens"));
}

absl::Status CheckOutput(const EncoderInfo& info, const OutputSpec& output, int64_t tokens,
                         int sequence) {
  if (output.pooling == Pooling::kSpans && output.spans.empty()) {
    return Broken(absl::StrCat("sequence ", sequence, " asks for spans and names none"));
  }
  for (const TokenRange& span : output.spans) {
    if (absl::Status status = CheckRange(span, tokens, sequence); !status.ok()) return status;
  }
  for (const TokenRange& range : output.row_ranges) {
    if (absl::Status status = CheckRange(range, tokens, sequence); !status.ok()) return status;
  }
  if (output.row_stride < 1) return Broken(absl::StrCat("row stride ", output.row_stride, " < 1"));
  for (const int layer : output.layers) {
    if (layer < 0 || layer > info.layers) {
      return Broken(absl::StrCat("layer ", layer, " is not in [0, ", info.layers, "]"));
    }
  }
  if (output.truncate_dim < 0 || output.truncate_dim > info.dim) {
    return Broken(
        absl::StrCat("truncate_dim ", output.truncate_dim, " is not in [0, ", info.dim, "]"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::string_view RouteName(Route route) {
  constexpr std::array<absl::string_view, 6> kNames = {"auto",      "direct", "tiles",
                                                       "chunkwise", "fft",    "interpolation"};
  return kNames[static_cast<size_t>(route)];
}

absl::string_view PoolingName(Pooling pooling) {
  constexpr std::array<absl::string_view, 6> kNames = {"mean", "first", "last",
                                                       "max",  "spans", "rows"};
  return kNames[static_cast<size_t>(pooling)];
}

int64_t OutputSpec::RowCount(int64_t tokens) const {
  switch (pooling) {
    case Pooling::kSpans:
      return static_cast<int64_t>(spans.size());
    case Pooling::kRows: {
      if (row_ranges.empty()) return (tokens + row_stride - 1) / row_stride;
      int64_t rows = 0;
      for (const TokenRange& range : row_ranges) {
        rows += (range.end - range.begin + row_stride - 1) / row_stride;
      }
      return rows;
    }
    default:
      return 1;
  }
}

void EncoderBatch::Add(absl::Span<const int32_t> ids, Route route) {
  if (route != Route::kAuto || !routes.empty()) {
    routes.resize(sequences(), Route::kAuto);
    routes.push_back(route);
  }
  token_ids.insert(token_ids.end(), ids.begin(), ids.end());
  offsets.push_back(offsets.back() + static_cast<int64_t>(ids.size()));
}

absl::Status CheckBatch(const EncoderInfo& info, const EncoderBatch& batch,
                        absl::Span<const OutputSpec> outputs) {
  if (batch.offsets.size() < 2 || batch.offsets.front() != 0) return Broken("the batch is empty");
  if (static_cast<size_t>(batch.sequences()) != outputs.size()) {
    return Broken(absl::StrCat(batch.sequences(), " sequences but ", outputs.size(), " outputs"));
  }
  if (!batch.routes.empty() && batch.routes.size() != outputs.size()) {
    return Broken(absl::StrCat(batch.routes.size(), " routes for ", outputs.size(), " sequences"));
  }
  if (batch.tokens() != static_cast<int64_t>(batch.token_ids.size())) {
    return Broken(absl::StrCat("offsets end at ", batch.tokens(), " but there are ",
                               batch.token_ids.size(), " ids"));
  }
  for (int s = 0; s < batch.sequences(); ++s) {
    const int64_t length = batch.length(s);
    if (length < 1 || length > info.max_tokens) {
      return Broken(
          absl::StrCat("sequence ", s, " has ", length, " tokens, limit ", info.max_tokens));
    }
    if (absl::Status status = CheckOutput(info, outputs[s], length, s); !status.ok()) return status;
  }
  for (size_t i = 0; i < batch.token_ids.size(); ++i) {
    if (batch.token_ids[i] < 0 || batch.token_ids[i] >= info.vocab_size) {
      return Broken(absl::StrCat("id ", batch.token_ids[i], " at ", i, " is not in [0, ",
                                 info.vocab_size, ")"));
    }
  }
  return absl::OkStatus();
}

}  // namespace longwave
