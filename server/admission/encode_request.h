#ifndef LONGWAVE_SERVER_ADMISSION_ENCODE_REQUEST_H_
#define LONGWAVE_SERVER_ADMISSION_ENCODE_REQUEST_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "model/api/encoder.h"
#include "model/base/clock.h"
#include "server/admission/request_terms.h"

// A request as plain C++, the form between decoding (rpc) and validation (admission).
namespace longwave {

enum class OutputType { kFp32, kFp16, kBf16, kInt8, kBinary };
enum class TruncationSide { kRefuse, kEnd, kStart };

// A range in one of the request's sequences, as asked for.
struct RequestedSpan {
  uint32_t sequence = 0;
  uint32_t begin = 0;
  uint32_t end = 0;
};

struct RequestedRows {
  uint32_t stride = 0;
  std::vector<RequestedSpan> ranges;
  std::vector<uint32_t> indices;
};

// Not yet checked against any model. Enum fields hold raw wire numbers until the validator maps
// them, so that unknown ones are named in the error.
struct EncodeRequestData {
  std::string model;
  std::string model_version;
  std::string request_id;

  // Ids as they travelled: bytes (a view of the received message, which outlives this) or a list.
  absl::string_view ids_bytes;
  int id_width = 0;  // raw IdWidth
  std::vector<uint32_t> lengths;
  std::vector<uint32_t> ids_list;
  // Optional inputs: present or not is all that v1 needs to know to refuse them.
  bool has_positions = false;
  bool has_frames = false;
  bool has_relations = false;

  int pooling = 0;
  std::vector<RequestedSpan> spans;
  std::optional<RequestedRows> rows;
  size_t rows_indices_bytes = 0;  // length of the indices field, to check that it is whole
  std::vector<int32_t> layers;
  int dtype = 0;
  std::optional<bool> normalize;
  uint32_t truncate_dim = 0;
  bool allow_undeclared_dim = false;

  int truncation_side = 0;
  uint32_t truncation_max_tokens = 0;
  int priority = 0;
  std::string tenant;
  bool deterministic = false;
  int route_override = 0;
  std::string tokenizer_fingerprint;
  // Time that the caller gives it, beside the deadline of the call.
  std::optional<Nanoseconds> timeout;
};

// One sequence after truncation.
struct ValidatedSequence {
  std::vector<int32_t> token_ids;
  OutputSpec output;
  int64_t tokens_in = 0;
  // Of those, the ones that are kept: [first_kept, first_kept + tokens_used).
  int64_t first_kept = 0;
  int64_t tokens_used = 0;
  bool truncated = false;
};

// A request that may be computed: every limit holds.
struct ValidatedRequest {
  std::vector<ValidatedSequence> sequences;
  Route route = Route::kAuto;
  OutputType dtype = OutputType::kFp32;
  Priority priority = Priority::kInteractive;
  std::string request_id;
  int64_t row_dim = 0;  // values per output row
  int64_t total_rows = 0;
  int64_t total_tokens = 0;  // used ones
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_ADMISSION_ENCODE_REQUEST_H_
