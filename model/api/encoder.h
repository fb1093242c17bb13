#ifndef LONGWAVE_MODEL_API_ENCODER_H_
#define LONGWAVE_MODEL_API_ENCODER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

// The only line between serving and mathematics: plain data and absl::Status.
namespace longwave {

// How attention is computed. The names and numbers are those of longwave.v1.Route.
enum class Route {
  kAuto = 0,
  kDirect = 1,         // double, O(n^2): the reference
  kTiles = 2,          // fp32, O(n^2), exact for every bias
  kChunkwise = 3,      // O(n), exact where c is constant or exponential beyond a distance
  kFft = 4,            // O(n log n), exact for every bias
  kInterpolation = 5,  // O(n), certified
};
// "auto", "direct", "tiles", ... as in flags, logs and metric labels.
absl::string_view RouteName(Route route);

// What one sequence's rows are folded into.
enum class Pooling { kMean, kFirst, kLast, kMax, kSpans, kRows };
absl::string_view PoolingName(Pooling pooling);

// Half-open range of token positions within one sequence.
struct TokenRange {
  int64_t begin = 0;
  int64_t end = 0;
};

// What a caller wants of one sequence. Vectors of several layers are each truncated and normalised
// by themselves and then concatenated in the order of `layers`.
struct OutputSpec {
  Pooling pooling = Pooling::kMean;
  // kSpans: one mean vector per range, in this order.
  std::vector<TokenRange> spans;
  // kRows: the rows of these ranges in order, every `row_stride`-th of each; empty = all rows.
  std::vector<TokenRange> row_ranges;
  int64_t row_stride = 1;
  // Layer indices in [0, num_layers]: 0 = the embeddings, num_layers = the last layer with the
  // final norm, if the model has one. Empty = the last.
  std::vector<int> layers;
  int64_t truncate_dim = 0;  // 0 = full width; else the first `truncate_dim` values of each vector
  bool normalize = false;    // l2, after truncation; the zero vector stays zero

  // Rows this sequence yields: 1, spans.size(), or the number of selected rows.
  int64_t RowCount(int64_t tokens) const;
};

// Edges of one sequence: source and target are token positions within it.
struct Relations {
  std::vector<int32_t> source;
  std::vector<int32_t> target;
  std::vector<int32_t> type;
};

// A ragged batch without padding: sequence s has tokens [offsets[s], offsets[s+1]).
struct EncoderBatch {
  std::vector<int32_t> token_ids;      // [total tokens]
  std::vector<int64_t> offsets = {0};  // [sequences + 1], strictly increasing from 0
  std::vector<Route> routes;           // per sequence; empty = kAuto for all

  // Optional inputs, empty unless EncoderInfo::input_kinds names them.
  std::vector<float> positions;      // [total tokens, position_dims]
  std::vector<float> frames;         // [total tokens, frame_dims], instead of ids
  std::vector<Relations> relations;  // per sequence

  int sequences() const { return static_cast<int>(offsets.size()) - 1; }
  int64_t tokens() const { return offsets.back(); }
  int64_t length(int sequence) const { return offsets[sequence + 1] - offsets[sequence]; }
  // Appends one sequence of ids.
  void Add(absl::Span<const int32_t> ids, Route route = Route::kAuto);
};

// `rows` x `dim` floats, row-major, valid during the call that passes it.
struct RowBlock {
  absl::Span<const float> values;
  int64_t rows = 0;
  int64_t dim = 0;
};

// What is known of a sequence once it is encoded.
struct SequenceReport {
  Route route = Route::kAuto;  // the route of most of the work; layers may differ
  double error_bound = 0;      // RouteCertificate's, of the routes taken; 0 = exact
};

// Where results go. Called from inside EncodeJob::Step, on the thread that steps.
class RowSink {
 public:
  enum class Answer { kTaken, kRefused };

  virtual ~RowSink() = default;
  // Takes rows [first_row, first_row + rows.rows) of a sequence's output, in order and all or
  // nothing. Never blocks. Refused rows stay with the job: Step returns kBlocked and offers them
  // again at its next call.
  virtual Answer Offer(int sequence, int64_t first_row, RowBlock rows) = 0;
  // Exactly one of Finish and Fail ends each sequence that was not dropped. Finish: all its rows
  // were taken. Fail: this sequence only; its mates go on.
  virtual void Finish(int sequence, const SequenceReport& report) = 0;
  virtual void Fail(int sequence, absl::Status status) = 0;
};

// One batch being computed, in slices. One thread at a time; Step, Drop and ResidentBytes are
// called by the executor that owns the job. Destroying it unfinished frees its work.
class EncodeJob {
 public:
  enum class State {
    kMore,     // call Step again
    kDone,     // every sequence has ended
    kBlocked,  // the sink refused: do not step before it is ready
  };

  virtual ~EncodeJob() = default;
  // One slice, <= EncoderInfo::max_slice_seconds. An error ends the whole job: the sequences that
  // have not ended get no further call.
  virtual absl::StatusOr<State> Step() = 0;
  // The sequence is not wanted any more: no further call for it, no further work where separable.
  virtual void Drop(int sequence) = 0;
  // Memory the job holds now, in bytes.
  virtual int64_t ResidentBytes() const = 0;
  // Work done, in [0, 1]; never decreases.
  virtual double Progress() const = 0;
};

// What a sequence would cost. A function of its shape alone.
struct CostPrediction {
  double seconds = 0;
  int64_t peak_bytes = 0;
  int64_t slices = 0;
  Route route = Route::kAuto;
};

// What a certified route may be off by, found when the model is loaded.
struct RouteCertificate {
  Route route = Route::kAuto;
  // |z^ - z| <= error_bound * sum over j of w_j |v_j - z| for every component of every attention
  // output z, w being the attention's weights. The largest of all layers, heads and lengths.
  double error_bound = 0;
};

// What an encoder is and takes. Constant for the life of the encoder.
struct EncoderInfo {
  std::string model = "default";
  std::string version;
  int64_t dim = 0;
  int64_t layers = 0;
  int64_t vocab_size = 0;
  int64_t max_tokens = 0;  // the longest sequence
  int64_t position_dims = 0;
  int64_t frame_dims = 0;
  std::vector<std::string> input_kinds = {"token_ids"};
  Pooling default_pooling = Pooling::kMean;
  bool default_normalize = false;
  std::vector<int64_t> truncate_dims;  // declared (Matryoshka) sizes; empty = none declared
  std::string tokenizer_kind;
  std::string tokenizer_fingerprint;
  std::string weights_digest;  // SHA-256 of the weights file, hex
  std::string fingerprint;     // weights, build, device class, compute dtype: same bits within one
  std::string device;          // "cpu" or "cuda:0"
  std::string compute_dtype;   // "fp32"
  bool deterministic = true;   // batch-invariance proven on this device class
  // Those that are exact or certified for this model, AUTO's choices first.
  std::vector<Route> routes;
  std::vector<RouteCertificate> certificates;  // of the routes that are not exact
  double max_slice_seconds = 0;
};

// What the precision guard of the FFT route took since the encoder was made: heads of layers by
// the arithmetic that was good enough, and rows that no transform was good enough for.
struct FftGuardCounts {
  int64_t fp32_heads = 0;
  int64_t fp64_heads = 0;
  int64_t tiles_heads = 0;
  int64_t recomputed_rows = 0;
};

class Encoder {
 public:
  virtual ~Encoder() = default;
  virtual const EncoderInfo& Info() const = 0;
  // OK, or why no further call can succeed.
  virtual absl::Status Health() const = 0;
  // Never decreases. Thread-safe. Zero for encoders without such a guard.
  virtual FftGuardCounts FftGuard() const { return {}; }
  virtual CostPrediction Predict(int64_t tokens, const OutputSpec& output, Route route) const = 0;
  // FAILED_PRECONDITION ROUTE_NOT_EXACT if the route cannot serve this model at this length.
  virtual absl::Status CheckRoute(int64_t tokens, Route route) const = 0;
  // Starts a job. `outputs` has one entry per sequence; `sink` outlives the job. Inputs that break
  // the rules above are INTERNAL (callers have checked them), never undefined behaviour.
  // Thread-safe.
  virtual absl::StatusOr<std::unique_ptr<EncodeJob>> Begin(EncoderBatch batch,
                                                           std::vector<OutputSpec> outputs,
                                                           RowSink* sink) = 0;
};

// INTERNAL, naming the first broken rule of EncoderBatch/OutputSpec for an encoder of this kind.
absl::Status CheckBatch(const EncoderInfo& info, const EncoderBatch& batch,
                        absl::Span<const OutputSpec> outputs);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_API_ENCODER_H_
