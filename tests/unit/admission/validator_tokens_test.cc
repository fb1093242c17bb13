#include <cstring>

#include "tests/unit/admission/validator_fixture.h"

namespace longwave {
namespace {

using ::testing::HasSubstr;

class RefusedTokens : public ::testing::TestWithParam<ValidatorCase> {};

TEST_P(RefusedTokens, NamesFieldValueAndLimit) {
  EncoderInfo info = SmallInfo();
  info.input_kinds = {"token_ids", "frames"};
  const FakeEncoder encoder({.info = info});
  ExpectRefused(GetParam(), encoder, SmallLimits());
}

void GiveBytes(EncodeRequestData& request, int id_width, absl::string_view bytes) {
  request.ids_list.clear();
  request.id_width = id_width;
  request.ids_bytes = bytes;
}

constexpr char kWidths[] =
    "ID_WIDTH_UNSPECIFIED (0), ID_WIDTH_U8 (1), ID_WIDTH_U16 (2), ID_WIDTH_U32 (3)";

INSTANTIATE_TEST_SUITE_P(
    Tokens, RefusedTokens,
    ::testing::Values(
        ValidatorCase{"Nothing", [](auto& r) { r = EncodeRequestData(); },
                      ErrorReason::kEmptyRequest, "tokens", "", ""},
        ValidatorCase{"LengthsWithoutIds", [](auto& r) { r.ids_list.clear(); },
                      ErrorReason::kLengthsMismatch, "tokens.lengths", "sum 20", "0 ids given"},
        ValidatorCase{"OneTooFew", [](auto& r) { r.ids_list.pop_back(); },
                      ErrorReason::kLengthsMismatch, "tokens.lengths", "sum 20", "19 ids given"},
        ValidatorCase{"OneTooMany", [](auto& r) { r.ids_list.push_back(0); },
                      ErrorReason::kLengthsMismatch, "tokens.lengths", "sum 20", "21 ids given"},
        ValidatorCase{"SumBeyond32Bits", [](auto& r) { r.lengths = {0xffffffff, 21}; },
                      ErrorReason::kLengthsMismatch, "tokens.lengths", "sum 4294967316",
                      "20 ids given"},
        ValidatorCase{"EmptySequence", [](auto& r) { r.lengths = {10, 0, 10}; },
                      ErrorReason::kEmptySequence, "tokens.lengths[1]", "0", "at least 1"},
        ValidatorCase{"EmptySequencesOnly",
                      [](auto& r) {
                        r.ids_list.clear();
                        r.lengths = {0, 0};
                      },
                      ErrorReason::kEmptySequence, "tokens.lengths[0]", "0", "at least 1"},
        ValidatorCase{"TwoFormsOfIds",
                      [](auto& r) {
                        r.ids_bytes = "abc";
                        r.id_width = 1;
                      },
                      ErrorReason::kConflictingFields, "tokens.ids_list", "", ""},
        ValidatorCase{"WidthNotSet", [](auto& r) { GiveBytes(r, 0, "0123456789"); },
                      ErrorReason::kBadIdWidth, "tokens.id_width", "0",
                      "ID_WIDTH_U8, ID_WIDTH_U16 or ID_WIDTH_U32"},
        ValidatorCase{"UnknownWidth", [](auto& r) { GiveBytes(r, 4, "0123456789"); },
                      ErrorReason::kInvalidEnum, "tokens.id_width", "4", kWidths},
        ValidatorCase{"UnknownWidthBesideAList", [](auto& r) { r.id_width = -1; },
                      ErrorReason::kInvalidEnum, "tokens.id_width", "-1", kWidths},
        ValidatorCase{"OddBytesOfTwo", [](auto& r) { GiveBytes(r, 2, "01234"); },
                      ErrorReason::kBadIdWidth, "tokens.ids", "5 bytes", "ids of 2"},
        ValidatorCase{"OddBytesOfFour", [](auto& r) { GiveBytes(r, 3, "0123456789"); },
                      ErrorReason::kBadIdWidth, "tokens.ids", "10 bytes", "ids of 4"},
        ValidatorCase{"TooLong", [](auto& r) { r = RequestOf({10, 101}); },
                      ErrorReason::kSequenceTooLong, "tokens.lengths[1]", "101", "100"},
        ValidatorCase{"TooLongWithoutLengths",
                      [](auto& r) {
                        r = RequestOf({101});
                        r.lengths.clear();
                      },
                      ErrorReason::kSequenceTooLong, "tokens", "101", "100"},
        ValidatorCase{"TooLongForTheCallersOwnLimit", [](auto& r) { r.truncation_max_tokens = 9; },
                      ErrorReason::kSequenceTooLong, "tokens.lengths[0]", "10", "9"},
        ValidatorCase{"TooManySequences", [](auto& r) { r = RequestOf({1, 1, 1, 1, 1}); },
                      ErrorReason::kRequestTooLarge, "tokens.lengths", "5 sequences", "4"},
        ValidatorCase{"TooManyTokens", [](auto& r) { r = RequestOf({100, 100, 51}); },
                      ErrorReason::kRequestTooLarge, "tokens", "251 tokens", "250"},
        ValidatorCase{"TruncationAboveTheModelsLimit",
                      [](auto& r) { r.truncation_max_tokens = 101; }, ErrorReason::kInvalidField,
                      "truncation.max_tokens", "101", "100"},
        ValidatorCase{"UnknownTruncationSide", [](auto& r) { r.truncation_side = 3; },
                      ErrorReason::kInvalidEnum, "truncation.side", "3",
                      "TRUNCATION_SIDE_UNSPECIFIED (0), TRUNCATION_SIDE_END (1), "
                      "TRUNCATION_SIDE_START (2)"},
        ValidatorCase{"IdOutsideTheVocabulary", [](auto& r) { r.ids_list[13] = 300; },
                      ErrorReason::kTokenOutOfRange, "tokens.ids_list[13]", "300", "below 300"},
        ValidatorCase{"LargestId", [](auto& r) { r.ids_list[0] = 0xffffffff; },
                      ErrorReason::kTokenOutOfRange, "tokens.ids_list[0]", "4294967295",
                      "below 300"},
        ValidatorCase{"BadIdInThePartThatIsCutOff",
                      [](auto& r) {
                        r.truncation_side = 1;
                        r.truncation_max_tokens = 3;
                        r.ids_list[19] = 300;
                      },
                      ErrorReason::kTokenOutOfRange, "tokens.ids_list[19]", "300", "below 300"},
        ValidatorCase{"PositionsThatTheModelDoesNotTake", [](auto& r) { r.has_positions = true; },
                      ErrorReason::kUnsupportedInput, "tokens.positions", "", ""},
        ValidatorCase{"RelationsThatTheModelDoesNotTake", [](auto& r) { r.has_relations = true; },
                      ErrorReason::kUnsupportedInput, "tokens.relations", "", ""},
        ValidatorCase{"FramesNotReadYet", [](auto& r) { r.has_frames = true; },
                      ErrorReason::kNotImplemented, "tokens.frames", "", ""}),
    CaseName);

TEST(Tokens, LimitsThemselvesAreAccepted) {
  EXPECT_TRUE(Validate(RequestOf({100, 100, 50})).ok());
  EXPECT_TRUE(Validate(RequestOf({1, 1, 1, 1})).ok());
  EncodeRequestData request = RequestOf({99});
  request.truncation_max_tokens = 100;
  EXPECT_TRUE(Validate(request).ok());
  request.ids_list[5] = 299;
  EXPECT_TRUE(Validate(request).ok());
  request.lengths.clear();
  EXPECT_TRUE(Validate(request).ok()) << "no lengths: one sequence";
}

TEST(Tokens, IdsWithoutATokenModelAreRefused) {
  EncoderInfo info = SmallInfo();
  info.input_kinds = {"frames"};
  const FakeEncoder encoder({.info = info});
  EXPECT_EQ(
      GetErrorDetails(ValidateEncodeRequest(RequestOf({1}), encoder, SmallLimits()).status()).field,
      "tokens.ids");
}

TEST(Tokens, TooManyTokensNamesTheStream) {
  EXPECT_THAT(std::string(Validate(RequestOf({100, 100, 51})).message()),
              HasSubstr("EncodeStream"));
}

struct TruncationCase {
  int side;
  uint32_t max_tokens;
  std::vector<int32_t> first;   // of ids 0..4
  std::vector<int32_t> second;  // of ids 5, 6
};

TEST(Tokens, TruncationKeepsTheAskedForPart) {
  const FakeEncoder encoder({.info = SmallInfo()});
  for (const TruncationCase& c : std::vector<TruncationCase>{{1, 0, {0, 1, 2, 3, 4}, {5, 6}},
                                                             {1, 3, {0, 1, 2}, {5, 6}},
                                                             {2, 3, {2, 3, 4}, {5, 6}},
                                                             {1, 1, {0}, {5}},
                                                             {2, 1, {4}, {6}},
                                                             {0, 5, {0, 1, 2, 3, 4}, {5, 6}}}) {
    EncodeRequestData request = RequestOf({5, 2});
    request.truncation_side = c.side;
    request.truncation_max_tokens = c.max_tokens;
    const auto valid = ValidateEncodeRequest(request, encoder, SmallLimits());
    ASSERT_TRUE(valid.ok()) << valid.status();
    EXPECT_EQ(valid->sequences[0].token_ids, c.first);
    EXPECT_EQ(valid->sequences[1].token_ids, c.second);
    EXPECT_EQ(valid->sequences[0].tokens_in, 5);
    EXPECT_EQ(valid->sequences[0].tokens_used, c.first.size());
    EXPECT_EQ(valid->sequences[0].first_kept, c.first.front());
    EXPECT_EQ(valid->sequences[0].truncated, c.first.size() < 5);
    EXPECT_EQ(valid->total_tokens, c.first.size() + c.second.size());
  }
}

TEST(Tokens, WhatIsUsedCountsAgainstTheRequestsLimit) {
  EncodeRequestData request = RequestOf({300, 300});
  request.truncation_side = 1;
  EXPECT_TRUE(Validate(request).ok());
}

TEST(Tokens, BytesOfEveryWidthMeanTheSameIds) {
  const FakeEncoder encoder({.info = SmallInfo()});
  const std::vector<int32_t> expected = {0, 1, 7, 255, 128};
  for (const auto& [number, width] : {std::pair(1, 1), std::pair(2, 2), std::pair(3, 4)}) {
    std::string bytes;
    for (const int32_t id : expected) {
      bytes.append(reinterpret_cast<const char*>(&id), width);  // little-endian
    }
    EncodeRequestData request;
    GiveBytes(request, number, bytes);
    request.lengths = {2, 3};
    const auto valid = ValidateEncodeRequest(request, encoder, SmallLimits());
    ASSERT_TRUE(valid.ok()) << valid.status();
    EXPECT_EQ(valid->sequences[0].token_ids, std::vector<int32_t>({0, 1}));
    EXPECT_EQ(valid->sequences[1].token_ids, std::vector<int32_t>({7, 255, 128}));
  }
}

TEST(DecodeIdsTest, NamesTheFirstBadIdAmongMany) {
  std::vector<uint16_t> words(10'000, 299);
  for (const size_t bad : {size_t{0}, size_t{1}, size_t{4095}, size_t{9999}}) {
    std::vector<uint16_t> ids = words;
    ids[bad] = 300;
    ids.back() = 301;
    const absl::string_view bytes(reinterpret_cast<const char*>(ids.data()), ids.size() * 2);
    const absl::Status status = DecodeIds(bytes, 2, 300, 5000).status();
    EXPECT_EQ(GetErrorDetails(status).field, "tokens.ids[" + std::to_string(bad + 5000) + "]");
  }
  const absl::string_view good(reinterpret_cast<const char*>(words.data()), words.size() * 2);
  EXPECT_EQ(DecodeIds(good, 2, 300, 0)->size(), 10'000);
}

TEST(DecodeIdsTest, BoundariesOfTheVocabulary) {
  const auto decode = [](uint32_t id, int64_t vocab) {
    return DecodeIds(absl::string_view(reinterpret_cast<const char*>(&id), 4), 4, vocab, 0).ok();
  };
  EXPECT_TRUE(decode(0, 1));
  EXPECT_FALSE(decode(1, 1));
  EXPECT_TRUE(decode(0x7fffffff, int64_t{1} << 31));
  EXPECT_FALSE(decode(0x80000000, int64_t{1} << 31));
  EXPECT_FALSE(decode(0xffffffff, 300));
  EXPECT_TRUE(DecodeIds(absl::string_view("\xff", 1), 1, 256, 0).ok());
  EXPECT_FALSE(DecodeIds(absl::string_view("\xff", 1), 1, 255, 0).ok());
}

TEST(DecodeIdsTest, WidthsAndPiecesThatAreNotWhole) {
  for (const int width : {0, 3, 8, -1}) EXPECT_FALSE(DecodeIds("12345678", width, 300, 0).ok());
  EXPECT_FALSE(DecodeIds("123", 2, 300, 0).ok());
  EXPECT_TRUE(DecodeIds("", 4, 300, 0)->empty());
}

}  // namespace
}  // namespace longwave
