#include <chrono>
#include <random>

#include "tests/unit/admission/validator_fixture.h"

namespace longwave {
namespace {

// Requests whose fields are mostly near their limits, so that many pass.
class RandomRequests {
 public:
  explicit RandomRequests(uint32_t seed) : random_(seed) {}

  EncodeRequestData Next() {
    EncodeRequestData request;
    std::vector<uint32_t> lengths(Below(4) + (Rarely() ? 0 : 1));
    for (uint32_t& length : lengths) length = Rarely() ? Below(120) : 1 + Below(20);
    request = RequestOf(lengths);
    if (Rarely()) request.lengths = {Below(50)};
    if (Rarely()) request.ids_list.push_back(Below(400));
    if (Coin()) UseBytes(request);
    request.pooling = Below(Rarely() ? 9 : 7);
    request.dtype = Below(Rarely() ? 8 : 6);
    if (request.pooling == 6 || Rarely()) request.spans = Spans(lengths);
    if (request.pooling == 5 && Coin()) AddRows(request, lengths);
    for (uint32_t i = Below(3); i > 0; --i)
      request.layers.push_back(static_cast<int>(Below(7)) - 3);
    if (Coin()) request.truncate_dim = Below(18);
    request.allow_undeclared_dim = Coin();
    request.truncation_side = Below(3);
    if (Coin()) request.truncation_max_tokens = Below(110);
    request.priority = Below(3);
    request.route_override = Rarely() ? Below(7) : 0;
    return request;
  }

 private:
  uint32_t Below(uint32_t limit) { return random_() % limit; }
  bool Coin() { return Below(2) == 0; }
  bool Rarely() { return Below(8) == 0; }

  std::vector<RequestedSpan> Spans(const std::vector<uint32_t>& lengths) {
    std::vector<RequestedSpan> spans;
    for (uint32_t s = 0; s < lengths.size(); ++s) {
      const uint32_t begin = Below(lengths[s] + 1);
      spans.push_back({Rarely() ? Below(5) : s, begin, begin + Below(lengths[s] + 1 - begin) + 1});
    }
    return spans;
  }

  void AddRows(EncodeRequestData& request, const std::vector<uint32_t>& lengths) {
    request.rows = RequestedRows{.stride = Below(4)};
    if (Coin()) request.rows->ranges = Spans(lengths);
    if (!Rarely() && !request.rows->ranges.empty()) return;
    for (uint32_t i = 0, index = 0; i < Below(6); ++i) {
      index += Below(3);
      request.rows->indices.push_back(index);
    }
    request.rows_indices_bytes = request.rows->indices.size() * 4 + (Rarely() ? Below(4) : 0);
  }

  void UseBytes(EncodeRequestData& request) {
    const uint32_t width = 1u << Below(3);
    bytes_.clear();
    for (const uint32_t id : request.ids_list) {
      bytes_.append(reinterpret_cast<const char*>(&id), width);
    }
    if (Rarely()) bytes_.push_back('x');
    request.ids_bytes = bytes_;
    request.id_width = width == 4 ? 3 : static_cast<int>(width);
    request.ids_list.clear();
  }

  std::mt19937 random_;
  std::string bytes_;
};

TEST(ValidatorProperty, WhatPassesIsWhatTheEncoderTakes) {
  EncoderInfo info = SmallInfo();
  info.routes.push_back(Route::kInterpolation);
  const FakeEncoder encoder({.info = info});
  RequestLimits limits = SmallLimits();
  limits.allow_route_override = true;
  RandomRequests requests(20240601);
  int passed = 0;
  constexpr int kRequests = 20'000;
  for (int i = 0; i < kRequests; ++i) {
    const auto valid = ValidateEncodeRequest(requests.Next(), encoder, limits);
    if (!valid.ok()) {
      ASSERT_NE(GetErrorDetails(valid.status()).reason, ErrorReason::kInternal) << valid.status();
      ASSERT_FALSE(GetErrorDetails(valid.status()).field.empty()) << valid.status();
      continue;
    }
    ++passed;
    EncoderBatch batch;
    std::vector<OutputSpec> outputs;
    int64_t rows = 0;
    for (const ValidatedSequence& sequence : valid->sequences) {
      ASSERT_EQ(sequence.token_ids.size(), sequence.tokens_used);
      batch.Add(sequence.token_ids, valid->route);
      outputs.push_back(sequence.output);
      rows += sequence.output.RowCount(sequence.tokens_used);
    }
    ASSERT_TRUE(CheckBatch(info, batch, outputs).ok()) << CheckBatch(info, batch, outputs);
    ASSERT_EQ(rows, valid->total_rows);
    ASSERT_EQ(batch.tokens(), valid->total_tokens);
    ASSERT_LE(valid->total_tokens, limits.max_request_tokens);
  }
  EXPECT_GT(passed, kRequests / 20) << "the generator has drifted away from valid requests";
}

TEST(ValidatorProperty, RefusalDoesNotDependOnTheSize) {
  // A refusal by shape reads no id: a thousand times the ids must not cost a hundred times more.
  const FakeEncoder encoder({.info = SmallInfo()});
  const auto cost = [&](size_t bytes) {
    const std::string ids(bytes, '\1');
    EncodeRequestData request;
    request.ids_bytes = ids;
    request.id_width = 1;
    auto best = std::chrono::nanoseconds::max();
    for (int i = 0; i < 20; ++i) {
      const auto start = std::chrono::steady_clock::now();
      EXPECT_FALSE(ValidateEncodeRequest(request, encoder, SmallLimits()).ok());
      best = std::min<std::chrono::nanoseconds>(best, std::chrono::steady_clock::now() - start);
    }
    return best;
  };
  EXPECT_LT(cost(10'000'000).count(), 100 * cost(10'000).count());
}

}  // namespace
}  // namespace longwave
