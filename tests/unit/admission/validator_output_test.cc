#include <limits>
#include <tuple>

#include "tests/unit/admission/validator_fixture.h"

namespace longwave {

bool operator==(const TokenRange& a, const TokenRange& b) {
  return std::tie(a.begin, a.end) == std::tie(b.begin, b.end);
}

namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kNone = 5;   // POOLING_NONE
constexpr int kSpans = 6;  // POOLING_SPANS

class RefusedOutput : public ::testing::TestWithParam<ValidatorCase> {};

TEST_P(RefusedOutput, NamesFieldValueAndLimit) {
  const FakeEncoder encoder({.info = SmallInfo()});
  ExpectRefused(GetParam(), encoder, SmallLimits());
}

void AskSpans(EncodeRequestData& request, std::vector<RequestedSpan> spans) {
  request.pooling = kSpans;
  request.spans = std::move(spans);
}

void AskRanges(EncodeRequestData& request, std::vector<RequestedSpan> ranges) {
  request.pooling = kNone;
  request.rows = RequestedRows{.ranges = std::move(ranges)};
}

void AskIndices(EncodeRequestData& request, std::vector<uint32_t> indices) {
  request.pooling = kNone;
  request.rows_indices_bytes = indices.size() * 4;
  request.rows = RequestedRows{.indices = std::move(indices)};
}

INSTANTIATE_TEST_SUITE_P(
    Output, RefusedOutput,
    ::testing::Values(
        ValidatorCase{"UnknownPooling", [](auto& r) { r.pooling = 99; }, ErrorReason::kInvalidEnum,
                      "output.pooling", "99",
                      "POOLING_UNSPECIFIED (0), POOLING_MEAN (1), POOLING_CLS (2), POOLING_LAST "
                      "(3), POOLING_MAX (4), POOLING_NONE (5), POOLING_SPANS (6)"},
        ValidatorCase{"UnknownDtype", [](auto& r) { r.dtype = 6; }, ErrorReason::kInvalidEnum,
                      "output.dtype", "6",
                      "DATA_TYPE_UNSPECIFIED (0), DATA_TYPE_FP32 (1), DATA_TYPE_FP16 (2), "
                      "DATA_TYPE_BF16 (3), DATA_TYPE_INT8 (4), DATA_TYPE_BINARY (5)"},
        ValidatorCase{"LayerTooHigh", [](auto& r) { r.layers = {0, 3}; },
                      ErrorReason::kInvalidField, "output.layers[1]", "3", "[-3, 2]"},
        ValidatorCase{"LayerTooLow", [](auto& r) { r.layers = {-4}; }, ErrorReason::kInvalidField,
                      "output.layers[0]", "-4", "[-3, 2]"},
        ValidatorCase{"LowestLayerNumber",
                      [](auto& r) { r.layers = {std::numeric_limits<int32_t>::min()}; },
                      ErrorReason::kInvalidField, "output.layers[0]", "-2147483648", "[-3, 2]"},
        ValidatorCase{"LayerTwice", [](auto& r) { r.layers = {2, -1}; }, ErrorReason::kInvalidField,
                      "output.layers[1]", "-1", "each layer once"},
        ValidatorCase{"TooManyLayers", [](auto& r) { r.layers = {0, 1, 2, 0}; },
                      ErrorReason::kInvalidField, "output.layers", "4 layers", "3"},
        ValidatorCase{"DimAboveTheModels", [](auto& r) { r.truncate_dim = 17; },
                      ErrorReason::kInvalidField, "output.truncate_dim", "17", "16"},
        ValidatorCase{"DimAboveTheModelsEvenIfUndeclaredOnesAreTaken",
                      [](auto& r) {
                        r.truncate_dim = 17;
                        r.allow_undeclared_dim = true;
                      },
                      ErrorReason::kInvalidField, "output.truncate_dim", "17", "16"},
        ValidatorCase{"UndeclaredDim", [](auto& r) { r.truncate_dim = 9; },
                      ErrorReason::kInvalidField, "output.truncate_dim", "9", "8, 16"},
        ValidatorCase{"BinaryOfAnOddDim",
                      [](auto& r) {
                        r.dtype = 5;
                        r.truncate_dim = 12;
                        r.allow_undeclared_dim = true;
                      },
                      ErrorReason::kInvalidField, "output.dtype", "DATA_TYPE_BINARY",
                      "a row of 8, 16, 24, ... values"},
        ValidatorCase{"SpansWithoutSpanPooling", [](auto& r) { r.spans = {{0, 0, 1}}; },
                      ErrorReason::kConflictingFields, "output.spans", "", ""},
        ValidatorCase{"RowsWithPooling", [](auto& r) { r.rows = RequestedRows{.stride = 2}; },
                      ErrorReason::kConflictingFields, "output.rows", "", ""},
        ValidatorCase{"SpanPoolingWithoutSpans", [](auto& r) { r.pooling = kSpans; },
                      ErrorReason::kMissingField, "output.spans", "", ""},
        ValidatorCase{"ASequenceWithoutSpans", [](auto& r) { AskSpans(r, {{1, 0, 1}}); },
                      ErrorReason::kMissingField, "output.spans", "", ""},
        ValidatorCase{"SpanOfNoSequence", [](auto& r) { AskSpans(r, {{0, 0, 1}, {2, 0, 1}}); },
                      ErrorReason::kInvalidField, "output.spans[1].sequence", "2", "1"},
        ValidatorCase{"EmptySpan", [](auto& r) { AskSpans(r, {{0, 3, 3}}); },
                      ErrorReason::kInvalidField, "output.spans[0].begin", "3", "below end 3"},
        ValidatorCase{"ReversedSpan", [](auto& r) { AskSpans(r, {{0, 4, 3}}); },
                      ErrorReason::kInvalidField, "output.spans[0].begin", "4", "below end 3"},
        ValidatorCase{"SpanBeyondTheEnd", [](auto& r) { AskSpans(r, {{0, 3, 11}}); },
                      ErrorReason::kInvalidField, "output.spans[0].end", "11", "10"},
        ValidatorCase{"SpanIntoTheCutOffEnd",
                      [](auto& r) {
                        AskSpans(r, {{0, 0, 5}});
                        r.truncation_side = 1;
                        r.truncation_max_tokens = 4;
                      },
                      ErrorReason::kInvalidField, "output.spans[0].end", "5", "4"},
        ValidatorCase{"SpanIntoTheCutOffStart",
                      [](auto& r) {
                        AskSpans(r, {{0, 5, 8}});
                        r.truncation_side = 2;
                        r.truncation_max_tokens = 4;
                      },
                      ErrorReason::kInvalidField, "output.spans[0].begin", "5", "at least 6"},
        ValidatorCase{"TooManySpans",
                      [](auto& r) { AskSpans(r, std::vector<RequestedSpan>(9, {0, 0, 1})); },
                      ErrorReason::kRequestTooLarge, "output.spans", "9", "8"},
        ValidatorCase{"RangeOfNoSequence", [](auto& r) { AskRanges(r, {{2, 0, 1}}); },
                      ErrorReason::kInvalidField, "output.rows.ranges[0].sequence", "2", "1"},
        ValidatorCase{"RangeBeyondTheEnd", [](auto& r) { AskRanges(r, {{1, 0, 11}}); },
                      ErrorReason::kInvalidField, "output.rows.ranges[0].end", "11", "10"},
        ValidatorCase{"ASequenceWithoutRanges", [](auto& r) { AskRanges(r, {{0, 0, 1}}); },
                      ErrorReason::kMissingField, "output.rows.ranges", "", ""},
        ValidatorCase{"MoreRowsThanTokens",
                      [](auto& r) { AskRanges(r, {{0, 0, 10}, {0, 4, 5}, {1, 0, 1}}); },
                      ErrorReason::kRequestTooLarge, "output.rows.ranges", "11 rows", "10"},
        ValidatorCase{"TooManyRanges",
                      [](auto& r) { AskRanges(r, std::vector<RequestedSpan>(9, {0, 0, 1})); },
                      ErrorReason::kRequestTooLarge, "output.rows.ranges", "9", "8"},
        ValidatorCase{"TooManyIndices", [](auto& r) { AskIndices(r, {0, 1, 2, 3, 4, 5, 6, 7, 8}); },
                      ErrorReason::kRequestTooLarge, "output.rows.indices", "9", "8"},
        ValidatorCase{"IndicesNotWhole",
                      [](auto& r) {
                        AskIndices(r, {1});
                        r.rows_indices_bytes = 5;
                      },
                      ErrorReason::kInvalidField, "output.rows.indices", "5 bytes", "indices of 4"},
        ValidatorCase{"IndicesOfThreeBytes",
                      [](auto& r) {
                        AskIndices(r, {});
                        r.rows_indices_bytes = 3;
                      },
                      ErrorReason::kInvalidField, "output.rows.indices", "3 bytes", "indices of 4"},
        ValidatorCase{"IndicesNotAscending", [](auto& r) { AskIndices(r, {1, 3, 2}); },
                      ErrorReason::kInvalidField, "output.rows.indices[2]", "2", "above 3"},
        ValidatorCase{"IndexTwice", [](auto& r) { AskIndices(r, {1, 1}); },
                      ErrorReason::kInvalidField, "output.rows.indices[1]", "1", "above 1"},
        ValidatorCase{"IndexBeyondTheEnd", [](auto& r) { AskIndices(r, {1, 9, 10, 11}); },
                      ErrorReason::kInvalidField, "output.rows.indices[2]", "10", "[0, 9]"},
        ValidatorCase{"IndexInTheCutOffStart",
                      [](auto& r) {
                        AskIndices(r, {5, 7});
                        r.truncation_side = 2;
                        r.truncation_max_tokens = 4;
                      },
                      ErrorReason::kInvalidField, "output.rows.indices[0]", "5", "[6, 9]"},
        ValidatorCase{"IndicesAndRanges",
                      [](auto& r) {
                        AskIndices(r, {1});
                        r.rows->ranges = {{0, 0, 1}};
                      },
                      ErrorReason::kConflictingFields, "output.rows.indices", "", ""},
        ValidatorCase{"IndicesAndStride",
                      [](auto& r) {
                        AskIndices(r, {1});
                        r.rows->stride = 2;
                      },
                      ErrorReason::kConflictingFields, "output.rows.indices", "", ""}),
    CaseName);

absl::StatusOr<ValidatedRequest> Ask(const std::function<void(EncodeRequestData&)>& change) {
  const FakeEncoder encoder({.info = SmallInfo()});
  EncodeRequestData request = RequestOf({10, 10});
  change(request);
  return ValidateEncodeRequest(request, encoder, SmallLimits());
}

TEST(Output, EveryPoolingIsMapped) {
  const std::vector<Pooling> poolings = {Pooling::kMean, Pooling::kMean, Pooling::kFirst,
                                         Pooling::kLast, Pooling::kMax,  Pooling::kRows};
  for (size_t number = 0; number < poolings.size(); ++number) {
    EXPECT_EQ(Ask([&](auto& r) { r.pooling = number; })->sequences[1].output.pooling,
              poolings[number]);
  }
}

TEST(Output, TheModelsDefaultsFillWhatIsNotSet) {
  EncoderInfo info = SmallInfo();
  info.default_pooling = Pooling::kLast;
  info.default_normalize = true;
  const FakeEncoder encoder({.info = info});
  EncodeRequestData request = RequestOf({10});
  auto valid = ValidateEncodeRequest(request, encoder, SmallLimits());
  EXPECT_EQ(valid->sequences[0].output.pooling, Pooling::kLast);
  EXPECT_TRUE(valid->sequences[0].output.normalize);
  request.pooling = 1;
  request.normalize = false;
  valid = ValidateEncodeRequest(request, encoder, SmallLimits());
  EXPECT_EQ(valid->sequences[0].output.pooling, Pooling::kMean);
  EXPECT_FALSE(valid->sequences[0].output.normalize);
}

TEST(Output, LayersCountFromBothEnds) {
  const auto valid = Ask([](auto& r) { r.layers = {-1, 0, -2}; });
  EXPECT_THAT(valid->sequences[0].output.layers, ElementsAre(2, 0, 1));
  EXPECT_EQ(valid->row_dim, 48);
  EXPECT_THAT(Ask([](auto& r) { r.layers = {-3}; })->sequences[0].output.layers, ElementsAre(0));
}

TEST(Output, DimsThatAreDeclaredOrAllowed) {
  EXPECT_EQ(Ask([](auto& r) { r.truncate_dim = 8; })->row_dim, 8);
  EXPECT_EQ(Ask([](auto& r) { r.truncate_dim = 16; })->row_dim, 16);
  const auto undeclared = Ask([](auto& r) {
    r.truncate_dim = 9;
    r.allow_undeclared_dim = true;
    r.layers = {1, 2};
  });
  EXPECT_EQ(undeclared->row_dim, 18);
  EXPECT_EQ(undeclared->sequences[0].output.truncate_dim, 9);
}

TEST(Output, DtypesAreMapped) {
  const std::vector<OutputType> types = {OutputType::kFp32, OutputType::kFp32, OutputType::kFp16,
                                         OutputType::kBf16, OutputType::kInt8, OutputType::kBinary};
  for (size_t number = 0; number < types.size(); ++number) {
    EXPECT_EQ(Ask([&](auto& r) { r.dtype = number; })->dtype, types[number]);
  }
}

TEST(Output, SpansGoToTheirSequencesInOrder) {
  const auto valid = Ask([](auto& r) { AskSpans(r, {{1, 9, 10}, {0, 0, 10}, {1, 0, 3}}); });
  ASSERT_TRUE(valid.ok()) << valid.status();
  EXPECT_THAT(valid->sequences[0].output.spans, ElementsAre(TokenRange{0, 10}));
  EXPECT_THAT(valid->sequences[1].output.spans, ElementsAre(TokenRange{9, 10}, TokenRange{0, 3}));
  EXPECT_EQ(valid->total_rows, 3);
}

TEST(Output, PositionsAreThoseOfTheSequenceAsSent) {
  const auto cut = [](auto& r) {
    r.truncation_side = 2;
    r.truncation_max_tokens = 4;  // keeps 6, 7, 8, 9
  };
  const auto spans = Ask([&](auto& r) {
    AskSpans(r, {{0, 6, 8}, {1, 9, 10}});
    cut(r);
  });
  ASSERT_TRUE(spans.ok()) << spans.status();
  EXPECT_THAT(spans->sequences[0].output.spans, ElementsAre(TokenRange{0, 2}));
  EXPECT_THAT(spans->sequences[1].output.spans, ElementsAre(TokenRange{3, 4}));
  const auto indices = Ask([&](auto& r) {
    AskIndices(r, {6, 9});
    cut(r);
  });
  EXPECT_THAT(indices->sequences[0].output.row_ranges,
              ElementsAre(TokenRange{0, 1}, TokenRange{3, 4}));
}

TEST(Output, RowsByRangeAndStride) {
  const auto valid = Ask([](auto& r) {
    AskRanges(r, {{0, 5, 10}, {0, 0, 2}, {1, 0, 10}});
    r.rows->stride = 3;
  });
  ASSERT_TRUE(valid.ok()) << valid.status();
  EXPECT_THAT(valid->sequences[0].output.row_ranges,
              ElementsAre(TokenRange{5, 10}, TokenRange{0, 2}));
  EXPECT_EQ(valid->sequences[0].output.row_stride, 3);
  EXPECT_EQ(valid->total_rows, 2 + 1 + 4);
}

TEST(Output, NoSelectionMeansAllRows) {
  for (const bool with_message : {false, true}) {
    const auto valid = Ask([&](auto& r) {
      r.pooling = kNone;
      if (with_message) r.rows = RequestedRows{};
    });
    ASSERT_TRUE(valid.ok()) << valid.status();
    EXPECT_THAT(valid->sequences[0].output.row_ranges, IsEmpty());
    EXPECT_EQ(valid->sequences[0].output.row_stride, 1);
    EXPECT_EQ(valid->total_rows, 20);
  }
}

TEST(Output, NeighbouringIndicesBecomeOneRange) {
  const auto valid = Ask([](auto& r) { AskIndices(r, {0, 1, 2, 4, 8, 9}); });
  ASSERT_TRUE(valid.ok()) << valid.status();
  EXPECT_THAT(valid->sequences[1].output.row_ranges,
              ElementsAre(TokenRange{0, 3}, TokenRange{4, 5}, TokenRange{8, 10}));
  EXPECT_EQ(valid->total_rows, 12);
}

struct ReplyCase {
  int dtype;
  int64_t bytes_per_row;  // of 16 values
};

TEST(Output, TheReplysSizeIsBounded) {
  for (const ReplyCase& c : std::vector<ReplyCase>{{1, 64}, {2, 32}, {3, 32}, {4, 20}, {5, 2}}) {
    const FakeEncoder encoder({.info = SmallInfo()});
    EncodeRequestData request = RequestOf({100, 100});
    request.pooling = kNone;
    request.dtype = c.dtype;
    RequestLimits limits = SmallLimits();
    limits.max_unary_reply_bytes = 200 * c.bytes_per_row;
    EXPECT_TRUE(ValidateEncodeRequest(request, encoder, limits).ok());
    --limits.max_unary_reply_bytes;
    const absl::Status status = ValidateEncodeRequest(request, encoder, limits).status();
    EXPECT_EQ(GetErrorDetails(status).reason, ErrorReason::kRequestTooLarge);
    EXPECT_EQ(GetErrorDetails(status).field, "output");
    EXPECT_THAT(std::string(status.message()), HasSubstr("EncodeStream"));
  }
}

TEST(Output, AReplyBeyond64BitsIsRefusedToo) {
  EncoderInfo info = SmallInfo();
  info.dim = int64_t{1} << 60;
  const FakeEncoder encoder({.info = info});
  EncodeRequestData request = RequestOf({100});
  request.pooling = kNone;
  EXPECT_EQ(GetErrorDetails(ValidateEncodeRequest(request, encoder, SmallLimits()).status()).field,
            "output");
}

}  // namespace
}  // namespace longwave
