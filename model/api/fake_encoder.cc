#include "model/api/fake_encoder.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"

namespace longwave {
namespace {

// Finaliser of the SplitMix64 generator: every input bit reaches every output bit.
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t HashIds(absl::Span<const int32_t> ids, uint64_t row_seed) {
  uint64_t hash = ids.size();
  if (row_seed != 0) hash ^= Mix(row_seed);
  for (const int32_t id : ids) hash = Mix(hash ^ static_cast<uint32_t>(id));
  return hash;
}

// In [-1, 1), a multiple of 2^-23: exact in fp32.
float ToUnit(uint64_t bits) {
  return static_cast<float>(static_cast<int64_t>(bits >> 40) - (1 << 23)) * 0x1p-23f;
}

// Which row of a sequence, as a number that no other row of it has: token positions are below
// 2^40.
constexpr uint64_t kMeanRow = uint64_t{1} << 40;
constexpr uint64_t kMaxRow = uint64_t{1} << 41;

std::vector<uint64_t> TokenRows(const OutputSpec& output, int64_t tokens) {
  std::vector<TokenRange> ranges = output.row_ranges;
  if (ranges.empty()) ranges.push_back({0, tokens});
  std::vector<uint64_t> rows;
  rows.reserve(output.RowCount(tokens));
  for (const TokenRange& range : ranges) {
    for (int64_t p = range.begin; p < range.end; p += output.row_stride) rows.push_back(p);
  }
  return rows;
}

std::vector<uint64_t> RowCodes(const OutputSpec& output, int64_t tokens) {
  switch (output.pooling) {
    case Pooling::kMean:
      return {kMeanRow};
    case Pooling::kMax:
      return {kMaxRow};
    case Pooling::kFirst:
      return {0};
    case Pooling::kLast:
      return {static_cast<uint64_t>(tokens - 1)};
    case Pooling::kRows:
      return TokenRows(output, tokens);
    case Pooling::kSpans:
      break;
  }
  std::vector<uint64_t> rows;
  for (const TokenRange& span : output.spans) {
    rows.push_back(Mix(static_cast<uint64_t>(span.begin)) ^ static_cast<uint64_t>(span.end));
  }
  return rows;
}

// The vectors of one sequence, row by row.
class RowMaker {
 public:
  RowMaker(const EncoderInfo& info, absl::Span<const int32_t> ids, const OutputSpec& output,
           uint64_t row_seed)
      : hash_(HashIds(ids, row_seed)),
        codes_(RowCodes(output, static_cast<int64_t>(ids.size()))),
        layers_(output.layers),
        dim_(output.truncate_dim == 0 ? info.dim : output.truncate_dim),
        normalize_(output.normalize) {
    if (layers_.empty()) layers_.push_back(static_cast<int>(info.layers));
  }

  int64_t rows() const { return static_cast<int64_t>(codes_.size()); }
  int64_t row_dim() const { return dim_ * static_cast<int64_t>(layers_.size()); }
  uint64_t code(int64_t row) const { return codes_[row]; }

  void Append(int64_t row, std::vector<float>& out) const {
    for (const int layer : layers_) {
      const uint64_t seed = Mix(hash_ ^ Mix(codes_[row] ^ (static_cast<uint64_t>(layer) << 48)));
      double squares = 0;
      for (int64_t column = 0; column < dim_; ++column) {
        out.push_back(ToUnit(Mix(seed + column)));
        squares += static_cast<double>(out.back()) * out.back();
      }
      if (!normalize_ || squares == 0) continue;
      const double scale = 1 / std::sqrt(squares);
      for (auto value = out.end() - dim_; value != out.end(); ++value) {
        *value = static_cast<float>(*value * scale);
      }
    }
  }

 private:
  const uint64_t hash_;
  const std::vector<uint64_t> codes_;
  std::vector<int> layers_;
  const int64_t dim_;
  const bool normalize_;
};

}  // namespace

EncoderInfo FakeEncoderInfo() {
  EncoderInfo info;
  info.model = "fake";
  info.version = "1";
  info.dim = 16;
  info.layers = 2;
  info.vocab_size = 1000;
  info.max_tokens = 1 << 20;
  info.truncate_dims = {8};
  info.tokenizer_kind = "byte";
  info.tokenizer_fingerprint = std::string(64, 'b');
  info.weights_digest = std::string(64, 'a');
  info.fingerprint = "fake-1";
  info.device = "cpu";
  info.compute_dtype = "fp32";
  info.routes = {Route::kChunkwise, Route::kFft, Route::kTiles, Route::kDirect};
  info.max_slice_seconds = 0.02;
  return info;
}

std::vector<float> ExpectedFakeRows(const EncoderInfo& info, absl::Span<const int32_t> ids,
                                    const OutputSpec& output, uint64_t row_seed) {
  const RowMaker maker(info, ids, output, row_seed);
  std::vector<float> rows;
  rows.reserve(maker.rows() * maker.row_dim());
  for (int64_t row = 0; row < maker.rows(); ++row) maker.Append(row, rows);
  return rows;
}

class FakeEncoder::Job final : public EncodeJob {
 public:
  Job(FakeEncoder* encoder, EncoderBatch batch, std::vector<OutputSpec> outputs, RowSink* sink)
      : encoder_(*encoder),
        options_(encoder->options_),
        batch_(std::move(batch)),
        outputs_(std::move(outputs)),
        sink_(*sink),
        ended_(batch_.sequences(), false) {
    encoder_.AddLiveJobs(1);
  }
  ~Job() override { encoder_.AddLiveJobs(-1); }

  absl::StatusOr<State> Step() override {
    if (stepping_.exchange(true)) return Misuse("two threads in one job");
    absl::StatusOr<State> state = over_ ? Misuse("a Step after the job's end") : StepOnce();
    over_ = !state.ok() || *state == State::kDone;
    stepping_ = false;
    return state;
  }

  void Drop(int sequence) override { ended_[sequence] = true; }

  int64_t ResidentBytes() const override {
    return over_ ? 0 : batch_.tokens() * options_.bytes_per_token;
  }

  double Progress() const override {
    return static_cast<double>(batch_.offsets[current_] + passed_) /
           static_cast<double>(batch_.tokens());
  }

 private:
  static absl::Status Misuse(absl::string_view what) {
    return MakeError(ErrorReason::kInternal, absl::StrCat("broken rule of EncodeJob: ", what));
  }

  absl::StatusOr<State> StepOnce() {
    if (auto fault = encoder_.NextFault(FakeFault::At::kStep); fault.has_value()) {
      if (absl::Status status = encoder_.Strike(*fault); !status.ok()) return status;
      if (fault->kind == FakeFault::Kind::kNonFiniteRow) FailSequence(fault->sequence);
    }
    if (absl::Status status = encoder_.Health(); !status.ok()) return status;
    const int64_t limit = options_.out_of_memory_above_tokens;
    if (limit > 0 && batch_.tokens() > limit) {
      return MakeError(ErrorReason::kOutOfMemory, "the job is larger than the scripted memory");
    }
    // What was refused before is offered before anything else is computed.
    if (maker_ != nullptr && !EmitRows()) return State::kBlocked;
    int64_t slice = std::min(options_.tokens_per_slice, TokensLeft());
    encoder_.Spend((first_step_ ? options_.base_seconds : 0) +
                   options_.seconds_per_token * static_cast<double>(slice));
    first_step_ = false;
    return Pass(slice);
  }

  // Passes over `slice` tokens, sending rows and ending sequences on the way.
  State Pass(int64_t slice) {
    while (current_ < batch_.sequences()) {
      if (ended_[current_]) {
        NextSequence();
        continue;
      }
      if (passed_ == 0 && Poisoned()) {
        FailSequence(current_);
        continue;
      }
      if (!EmitRows()) return State::kBlocked;
      if (passed_ == batch_.length(current_)) {
        ended_[current_] = true;
        sink_.Finish(current_, Report());
        continue;
      }
      if (slice == 0) return State::kMore;
      const int64_t step = std::min(slice, batch_.length(current_) - passed_);
      passed_ += step;
      slice -= step;
    }
    return State::kDone;
  }

  // Offers the current sequence's rows that are known by now. False if the sink refused.
  bool EmitRows() {
    if (ended_[current_]) return true;
    if (maker_ == nullptr) {
      maker_ =
          std::make_unique<RowMaker>(options_.info, Ids(), outputs_[current_], options_.row_seed);
    }
    const bool by_token = outputs_[current_].pooling == Pooling::kRows;
    const bool complete = passed_ == batch_.length(current_);
    while (next_row_ < maker_->rows()) {
      std::vector<float> values;
      int64_t rows = 0;
      while (rows < options_.rows_per_offer && next_row_ + rows < maker_->rows()) {
        const int64_t row = next_row_ + rows;
        const bool known = by_token ? maker_->code(row) < static_cast<uint64_t>(passed_) : complete;
        if (!known) break;
        maker_->Append(row, values);
        ++rows;
      }
      if (rows == 0) break;
      const RowBlock block{values, rows, maker_->row_dim()};
      if (sink_.Offer(current_, next_row_, block) == RowSink::Answer::kRefused) return false;
      next_row_ += rows;
    }
    return true;
  }

  void NextSequence() {
    ++current_;
    passed_ = 0;
    next_row_ = 0;
    maker_ = nullptr;
  }

  void FailSequence(int sequence) {
    if (sequence < 0 || sequence >= batch_.sequences() || ended_[sequence]) return;
    ended_[sequence] = true;
    sink_.Fail(sequence, MakeError(ErrorReason::kNonFinite, "a scripted row is not a number"));
  }

  bool Poisoned() const {
    const absl::Span<const int32_t> ids = Ids();
    return std::find(ids.begin(), ids.end(), options_.poison_id) != ids.end();
  }

  absl::Span<const int32_t> Ids() const {
    return absl::MakeConstSpan(batch_.token_ids)
        .subspan(batch_.offsets[current_], batch_.length(current_));
  }

  int64_t TokensLeft() const {
    int64_t tokens = 0;
    for (int s = current_; s < batch_.sequences(); ++s) {
      if (!ended_[s]) tokens += batch_.length(s) - (s == current_ ? passed_ : 0);
    }
    return tokens;
  }

  SequenceReport Report() const {
    const Route asked = batch_.routes.empty() ? Route::kAuto : batch_.routes[current_];
    return {.route = asked == Route::kAuto ? options_.info.routes.front() : asked};
  }

  FakeEncoder& encoder_;
  const FakeEncoderOptions& options_;
  const EncoderBatch batch_;
  const std::vector<OutputSpec> outputs_;
  RowSink& sink_;
  std::vector<bool> ended_;  // finished, failed or dropped
  int current_ = 0;          // the sequence that is being computed
  int64_t passed_ = 0;       // its tokens that are done
  int64_t next_row_ = 0;     // its first row that was not taken
  std::unique_ptr<RowMaker> maker_;
  bool first_step_ = true;
  std::atomic<bool> over_{false};
  std::atomic<bool> stepping_{false};
};

FakeEncoder::FakeEncoder(FakeEncoderOptions options)
    : options_(std::move(options)), faults_(options_.faults) {}

FakeEncoder::~FakeEncoder() = default;

absl::Status FakeEncoder::Health() const {
  MutexLock lock(&mutex_);
  if (!device_lost_) return absl::OkStatus();
  return MakeError(ErrorReason::kDeviceLost, "the device answers no more (scripted)");
}

CostPrediction FakeEncoder::Predict(int64_t tokens, const OutputSpec& output, Route route) const {
  CostPrediction cost;
  cost.seconds = options_.base_seconds + options_.seconds_per_token * static_cast<double>(tokens);
  cost.peak_bytes = tokens * options_.bytes_per_token;
  cost.slices = (tokens + options_.tokens_per_slice - 1) / options_.tokens_per_slice;
  cost.route = route == Route::kAuto ? options_.info.routes.front() : route;
  return cost;
}

absl::Status FakeEncoder::CheckRoute(int64_t tokens, Route route) const {
  const std::vector<Route>& routes = options_.info.routes;
  if (route == Route::kAuto || std::find(routes.begin(), routes.end(), route) != routes.end()) {
    return absl::OkStatus();
  }
  return MakeError(ErrorReason::kRouteNotExact,
                   absl::StrCat("route ", RouteName(route), " does not serve this model"));
}

absl::StatusOr<std::unique_ptr<EncodeJob>> FakeEncoder::Begin(EncoderBatch batch,
                                                              std::vector<OutputSpec> outputs,
                                                              RowSink* sink) {
  if (auto fault = NextFault(FakeFault::At::kBegin); fault.has_value()) {
    if (absl::Status status = Strike(*fault); !status.ok()) return status;
  }
  if (absl::Status status = Health(); !status.ok()) return status;
  if (absl::Status status = CheckBatch(options_.info, batch, outputs); !status.ok()) return status;
  return std::make_unique<Job>(this, std::move(batch), std::move(outputs), sink);
}

void FakeEncoder::AddFault(FakeFault fault) {
  MutexLock lock(&mutex_);
  faults_.push_back(fault);
}

void FakeEncoder::AwaitHang() {
  MutexLock lock(&mutex_);
  while (hanging_ == 0) hang_changed_.Wait(&mutex_);
}

void FakeEncoder::Release() {
  MutexLock lock(&mutex_);
  released_ = true;
  hang_changed_.NotifyAll();
}

int64_t FakeEncoder::begin_calls() const {
  MutexLock lock(&mutex_);
  return begin_calls_;
}

int64_t FakeEncoder::step_calls() const {
  MutexLock lock(&mutex_);
  return step_calls_;
}

int64_t FakeEncoder::live_jobs() const {
  MutexLock lock(&mutex_);
  return live_jobs_;
}

std::optional<FakeFault> FakeEncoder::NextFault(FakeFault::At at) {
  MutexLock lock(&mutex_);
  const int64_t call = at == FakeFault::At::kBegin ? begin_calls_++ : step_calls_++;
  for (const FakeFault& fault : faults_) {
    if (fault.at == at && fault.call == call) return fault;
  }
  return std::nullopt;
}

absl::Status FakeEncoder::Strike(const FakeFault& fault) {
  switch (fault.kind) {
    case FakeFault::Kind::kOutOfMemory:
      return MakeError(ErrorReason::kOutOfMemory, "scripted: no memory for the work");
    case FakeFault::Kind::kJobError:
      return MakeError(ErrorReason::kInternal, "scripted: the job failed");
    case FakeFault::Kind::kDeviceLost: {
      MutexLock lock(&mutex_);
      device_lost_ = true;
      return absl::OkStatus();  // Health says it, to this call and to every later one
    }
    case FakeFault::Kind::kHang: {
      MutexLock lock(&mutex_);
      ++hanging_;
      hang_changed_.NotifyAll();
      while (!released_) hang_changed_.Wait(&mutex_);
      --hanging_;
      return absl::OkStatus();
    }
    case FakeFault::Kind::kNonFiniteRow:
      break;
  }
  return absl::OkStatus();
}

void FakeEncoder::Spend(double seconds) const {
  const Nanoseconds time = FromSeconds(seconds * options_.time_factor);
  switch (options_.pace) {
    case FakePace::kInstant:
      return;
    case FakePace::kFakeClock:
      options_.clock->Advance(time);
      return;
    case FakePace::kSleep:
      std::this_thread::sleep_for(time);
      return;
    case FakePace::kBusy: {
      const Instant end = std::chrono::steady_clock::now() + time;
      while (std::chrono::steady_clock::now() < end) {
      }
      return;
    }
  }
}

void FakeEncoder::AddLiveJobs(int64_t change) {
  MutexLock lock(&mutex_);
  live_jobs_ += change;
}

}  // namespace longwave
