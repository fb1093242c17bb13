#include "server/admission/validator.h"

#include "tests/unit/admission/validator_fixture.h"

namespace longwave {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kNameRule[] = "[a-z0-9][a-z0-9._-]{0,62} without \"..\"";

class RefusedRequest : public ::testing::TestWithParam<ValidatorCase> {};

TEST_P(RefusedRequest, NamesFieldValueAndLimit) {
  EncoderInfo info = SmallInfo();
  info.deterministic = false;
  const FakeEncoder encoder({.info = info});
  ExpectRefused(GetParam(), encoder, SmallLimits());
}

INSTANTIATE_TEST_SUITE_P(
    Fields, RefusedRequest,
    ::testing::Values(
        ValidatorCase{"UnknownModel", [](auto& r) { r.model = "other"; },
                      ErrorReason::kUnknownModel, "model", "\"other\"", "\"fake\""},
        ValidatorCase{"ModelDifferingInCase", [](auto& r) { r.model = "Fake"; },
                      ErrorReason::kInvalidModelName, "model", "\"Fake\"", kNameRule},
        ValidatorCase{"UnknownVersion", [](auto& r) { r.model_version = "2"; },
                      ErrorReason::kUnknownModel, "model_version", "\"2\"", "\"1\""},
        ValidatorCase{"VersionMinusOne", [](auto& r) { r.model_version = "-1"; },
                      ErrorReason::kUnknownModel, "model_version", "\"-1\"", "\"1\""},
        ValidatorCase{"RequestIdTooLong", [](auto& r) { r.request_id = std::string(17, 'i'); },
                      ErrorReason::kInvalidField, "request_id", "17 bytes", "16"},
        ValidatorCase{"RequestIdNotUtf8", [](auto& r) { r.request_id = "a\xff"; },
                      ErrorReason::kInvalidField, "request_id", "\"a\\xff\"", "UTF-8"},
        ValidatorCase{"TenantTooLong", [](auto& r) { r.tenant = std::string(17, 't'); },
                      ErrorReason::kInvalidField, "tenant", "17 bytes", "16"},
        ValidatorCase{"TenantNotUtf8", [](auto& r) { r.tenant = "\xc0"; },
                      ErrorReason::kInvalidField, "tenant", "\"\\xc0\"", "UTF-8"},
        ValidatorCase{"OtherTokenizer", [](auto& r) { r.tokenizer_fingerprint = "beef"; },
                      ErrorReason::kInvalidField, "tokenizer_fingerprint", "\"beef\"",
                      "\"" + std::string(48, 'b') + "...\""},
        ValidatorCase{"DeterminismNotPromised", [](auto& r) { r.deterministic = true; },
                      ErrorReason::kNotImplemented, "deterministic", "", ""},
        ValidatorCase{"UnknownPriority", [](auto& r) { r.priority = 3; }, ErrorReason::kInvalidEnum,
                      "priority", "3",
                      "PRIORITY_UNSPECIFIED (0), PRIORITY_INTERACTIVE (1), PRIORITY_BATCH (2)"},
        ValidatorCase{"NegativePriority", [](auto& r) { r.priority = -1; },
                      ErrorReason::kInvalidEnum, "priority", "-1",
                      "PRIORITY_UNSPECIFIED (0), PRIORITY_INTERACTIVE (1), PRIORITY_BATCH (2)"},
        ValidatorCase{"RouteOverrideDisabled", [](auto& r) { r.route_override = 4; },
                      ErrorReason::kRouteOverrideDisabled, "route_override", "fft", "auto"},
        ValidatorCase{"UnknownRoute", [](auto& r) { r.route_override = 6; },
                      ErrorReason::kInvalidEnum, "route_override", "6",
                      "ROUTE_UNSPECIFIED (0), ROUTE_DIRECT (1), ROUTE_TILES (2), ROUTE_CHUNKWISE "
                      "(3), ROUTE_FFT (4), ROUTE_INTERPOLATION (5)"}),
    CaseName);

TEST(ValidatorTest, TakesAPlainRequest) {
  const FakeEncoder encoder({.info = SmallInfo()});
  EncodeRequestData request = RequestOf({3, 2});
  request.model = "fake";
  request.model_version = "1";
  request.request_id = std::string(16, 'i');
  request.tokenizer_fingerprint = SmallInfo().tokenizer_fingerprint;
  request.deterministic = true;
  const auto valid = ValidateEncodeRequest(request, encoder, SmallLimits());
  ASSERT_TRUE(valid.ok()) << valid.status();
  ASSERT_EQ(valid->sequences.size(), 2);
  EXPECT_EQ(valid->sequences[0].token_ids, (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(valid->sequences[1].token_ids, (std::vector<int32_t>{3, 4}));
  EXPECT_EQ(valid->sequences[1].tokens_in, 2);
  EXPECT_EQ(valid->sequences[1].tokens_used, 2);
  EXPECT_FALSE(valid->sequences[1].truncated);
  EXPECT_EQ(valid->route, Route::kAuto);
  EXPECT_EQ(valid->dtype, OutputType::kFp32);
  EXPECT_EQ(valid->priority, Priority::kInteractive);
  EXPECT_EQ(valid->request_id, request.request_id);
  EXPECT_EQ(valid->row_dim, 16);
  EXPECT_EQ(valid->total_rows, 2);
  EXPECT_EQ(valid->total_tokens, 5);
}

TEST(ValidatorTest, PriorityBatchIsTaken) {
  const FakeEncoder encoder({.info = SmallInfo()});
  EncodeRequestData request = RequestOf({1});
  request.priority = 2;
  EXPECT_EQ(ValidateEncodeRequest(request, encoder, SmallLimits())->priority, Priority::kBatch);
}

TEST(ValidatorTest, HostileModelNamesAreRefusedAndNotRepeated) {
  const std::vector<std::string> names = {"../x",
                                          "..",
                                          ".",
                                          "a/b",
                                          "/abs",
                                          "%2e%2e",
                                          "a..b",
                                          "-a",
                                          "_a",
                                          ".a",
                                          "a b",
                                          " a",
                                          "a\n",
                                          "a\t",
                                          "UPPER",
                                          "a\\b",
                                          "caf\xc3\xa9",
                                          "a:b",
                                          "a\x1b[31m",
                                          "a\"b",
                                          "a'b",
                                          "$(reboot)",
                                          "a;b",
                                          "a*",
                                          "c:\\windows",
                                          "con\xff",
                                          "\xe2\x80\xae",
                                          "a\r\nb",
                                          std::string(64, 'a'),
                                          std::string(10'000, 'a'),
                                          std::string("a\0b", 3),
                                          std::string("\0", 1)};
  for (const std::string& name : names) {
    EncodeRequestData request = RequestOf({1});
    request.model = name;
    const absl::Status status = Validate(request);
    EXPECT_EQ(GetErrorDetails(status).reason, ErrorReason::kInvalidModelName) << status;
    EXPECT_LT(status.message().size(), 400);
    for (const char c : status.message()) EXPECT_TRUE(c >= ' ' && c <= '~') << status;
  }
}

TEST(ValidatorTest, WellFormedNamesAreLookedUp) {
  for (const char* name : {"a", "0", "a.b", "a-b", "a_b", "v1.2-large_x", "a-", "a."}) {
    EncodeRequestData request = RequestOf({1});
    request.model = name;
    EXPECT_EQ(GetErrorDetails(Validate(request)).reason, ErrorReason::kUnknownModel) << name;
  }
  EncodeRequestData request = RequestOf({1});
  request.model = std::string(63, 'a');
  EXPECT_EQ(Validate(request).code(), absl::StatusCode::kNotFound);
}

class RouteOverride : public ::testing::Test {
 protected:
  RouteOverride() {
    EncoderInfo info = FakeEncoderInfo();
    info.routes = {Route::kChunkwise, Route::kDirect, Route::kTiles};
    encoder_ = std::make_unique<FakeEncoder>(FakeEncoderOptions{.info = info});
    limits_.allow_route_override = true;
  }

  absl::StatusOr<ValidatedRequest> Ask(Route route, const std::vector<uint32_t>& lengths) {
    EncodeRequestData request = RequestOf(lengths);
    request.route_override = static_cast<int>(route);
    return ValidateEncodeRequest(request, *encoder_, limits_);
  }

  std::unique_ptr<FakeEncoder> encoder_;
  RequestLimits limits_;
};

TEST_F(RouteOverride, IsHonouredWhereAllowed) {
  EXPECT_EQ(Ask(Route::kChunkwise, {5})->route, Route::kChunkwise);
  EXPECT_EQ(Ask(Route::kChunkwise, {16385})->route, Route::kChunkwise);
  EXPECT_EQ(Ask(Route::kAuto, {5})->route, Route::kAuto);
}

TEST_F(RouteOverride, QuadraticRoutesAreBounded) {
  for (const Route route : {Route::kDirect, Route::kTiles}) {
    EXPECT_TRUE(Ask(route, {5, 16384}).ok());
    const absl::Status status = Ask(route, {5, 16385}).status();
    EXPECT_EQ(GetErrorDetails(status).reason, ErrorReason::kRouteNotExact);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(GetErrorDetails(status).limit, "sequences of 16384 tokens");
  }
}

TEST_F(RouteOverride, RouteThatTheModelCannotTakeIsRefused) {
  EXPECT_EQ(GetErrorDetails(Ask(Route::kFft, {5}).status()).reason, ErrorReason::kRouteNotExact);
}

TEST(StreamOpen, TakesLengthsAndLeavesIdsEmpty) {
  const FakeEncoder encoder({.info = SmallInfo()});
  EncodeRequestData request;
  request.lengths = {60, 40};
  request.id_width = 1;
  request.pooling = 5;
  const auto valid = ValidateStreamOpen(request, encoder, SmallLimits());
  ASSERT_TRUE(valid.ok()) << valid.status();
  EXPECT_EQ(valid->total_rows, 100);
  EXPECT_EQ(valid->sequences[0].tokens_used, 60);
  EXPECT_TRUE(valid->sequences[0].token_ids.empty());
}

TEST(StreamOpen, RefusesWhatAStreamCannotHave) {
  const FakeEncoder encoder({.info = SmallInfo()});
  const auto reason = [&](const std::function<void(EncodeRequestData&)>& change) {
    EncodeRequestData request;
    request.lengths = {10};
    request.id_width = 1;
    change(request);
    const absl::Status status = ValidateStreamOpen(request, encoder, SmallLimits()).status();
    EXPECT_FALSE(status.ok());
    return GetErrorDetails(status).reason;
  };
  EXPECT_EQ(reason([](auto& r) { r.ids_bytes = "x"; }), ErrorReason::kConflictingFields);
  EXPECT_EQ(reason([](auto& r) { r.ids_list = {1}; }), ErrorReason::kConflictingFields);
  EXPECT_EQ(reason([](auto& r) { r.lengths.clear(); }), ErrorReason::kMissingField);
  EXPECT_EQ(reason([](auto& r) { r.lengths = {5, 0}; }), ErrorReason::kEmptySequence);
  EXPECT_EQ(reason([](auto& r) { r.id_width = 0; }), ErrorReason::kBadIdWidth);
  EXPECT_EQ(reason([](auto& r) { r.id_width = 4; }), ErrorReason::kInvalidEnum);
  EXPECT_EQ(reason([](auto& r) { r.lengths = {101}; }), ErrorReason::kSequenceTooLong);
  EXPECT_EQ(reason([](auto& r) { r.lengths = {51, 50}; }), ErrorReason::kRequestTooLarge);
  EXPECT_EQ(reason([](auto& r) { r.lengths = {1, 1, 1, 1, 1}; }), ErrorReason::kRequestTooLarge);
}

TEST(StreamOpen, WhatIsCutOffIsBoundedToo) {
  const FakeEncoder encoder({.info = SmallInfo()});
  EncodeRequestData request;
  request.id_width = 1;
  request.truncation_side = 2;
  request.lengths = {400};
  const auto valid = ValidateStreamOpen(request, encoder, SmallLimits());
  ASSERT_TRUE(valid.ok()) << valid.status();
  EXPECT_EQ(valid->sequences[0].first_kept, 300);
  EXPECT_EQ(valid->sequences[0].tokens_used, 100);
  request.lengths = {401};
  EXPECT_EQ(GetErrorDetails(ValidateStreamOpen(request, encoder, SmallLimits()).status()).limit,
            "400");
}

TEST(StreamOpen, TheReplyIsNotLimited) {
  const FakeEncoder encoder;
  EncodeRequestData request;
  request.lengths = {1 << 20};
  request.id_width = 1;
  request.pooling = 5;
  EXPECT_TRUE(ValidateStreamOpen(request, encoder, RequestLimits()).ok());
}

TEST(RequestLimitsTest, DefaultsAreValid) { EXPECT_TRUE(RequestLimits().Validate().ok()); }

TEST(RequestLimitsTest, EveryProblemNamesItsFlag) {
  const RequestLimits limits{.max_sequences = 0,
                             .max_request_tokens = -1,
                             .max_unary_reply_bytes = 4 << 20,
                             .max_spans = 0,
                             .max_request_id_bytes = 5000};
  const std::string message(limits.Validate().message());
  for (const char* flag :
       {"--max_sequences = 0", "--max_request_tokens = -1", "--max_unary_reply_bytes = 4194304",
        "--max_spans = 0", "--max_request_id_bytes = 5000"}) {
    EXPECT_THAT(message, HasSubstr(flag));
  }
  const std::string one(RequestLimits{.max_spans = 0}.Validate().message());
  EXPECT_THAT(one, HasSubstr("--max_spans"));
  EXPECT_THAT(one, Not(HasSubstr("--max_sequences")));
}

}  // namespace
}  // namespace longwave
