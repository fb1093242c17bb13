// Parameters of the Open Inference Protocol -> what a request asks for.
#include "server/rpc/inference/infer_parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "longwave/v1/encode.pb.h"
#include "model/base/error.h"

namespace longwave {
namespace {

using ::testing::HasSubstr;

TEST(InferParametersTest, EveryOneHasItsPlace) {
  InferParameters parameters;
  parameters["pooling"].set_string_param("Spans");
  parameters["dtype"].set_string_param("BF16");
  parameters["normalize"].set_bool_param(false);
  parameters["truncate_dim"].set_int64_param(8);
  parameters["allow_undeclared_dim"].set_bool_param(true);
  parameters["truncation_side"].set_string_param("start");
  parameters["truncate_max_tokens"].set_uint64_param(9);
  parameters["tokenizer_fingerprint"].set_string_param("abc");
  parameters["deterministic"].set_bool_param(true);
  parameters["timeout"].set_int64_param(2500);
  parameters["priority"].set_uint64_param(2);
  EncodeRequestData data;
  ASSERT_TRUE(ReadInferParameters(parameters, &data).ok());
  EXPECT_EQ(data.pooling, v1::POOLING_SPANS);
  EXPECT_EQ(data.dtype, v1::DATA_TYPE_BF16);
  EXPECT_EQ(data.normalize, false);
  EXPECT_EQ(data.truncate_dim, 8u);
  EXPECT_TRUE(data.allow_undeclared_dim);
  EXPECT_EQ(data.truncation_side, v1::TRUNCATION_SIDE_START);
  EXPECT_EQ(data.truncation_max_tokens, 9u);
  EXPECT_EQ(data.tokenizer_fingerprint, "abc");
  EXPECT_TRUE(data.deterministic);
  EXPECT_EQ(data.timeout, Nanoseconds(2'500'000));
  EXPECT_EQ(data.priority, v1::PRIORITY_BATCH);
}

TEST(InferParametersTest, WithoutAnyNothingIsAskedFor) {
  EncodeRequestData data;
  ASSERT_TRUE(ReadInferParameters({}, &data).ok());
  EXPECT_EQ(data.pooling, v1::POOLING_UNSPECIFIED);
  EXPECT_EQ(data.normalize, std::nullopt);
  EXPECT_EQ(data.truncation_side, v1::TRUNCATION_SIDE_UNSPECIFIED);
  EXPECT_EQ(data.timeout, std::nullopt);
}

TEST(InferParametersTest, OthersAreIgnored) {
  InferParameters parameters;
  parameters["triton_enable_empty_final_response"].set_bool_param(true);
  parameters["sequence_id"].set_int64_param(3);
  parameters["Pooling"].set_string_param("median");
  parameters["binary_data_output"];
  EncodeRequestData data;
  EXPECT_TRUE(ReadInferParameters(parameters, &data).ok());
  EXPECT_EQ(data.pooling, v1::POOLING_UNSPECIFIED);
}

TEST(InferParametersTest, TimeoutsAndPrioritiesOfZeroAreTheDefault) {
  InferParameters parameters;
  parameters["timeout"].set_int64_param(0);
  parameters["priority"].set_int64_param(0);
  EncodeRequestData data;
  ASSERT_TRUE(ReadInferParameters(parameters, &data).ok());
  EXPECT_EQ(data.timeout, std::nullopt);
  EXPECT_EQ(data.priority, v1::PRIORITY_INTERACTIVE);
}

TEST(InferParametersTest, TruncateCutsTheEnd) {
  InferParameters parameters;
  parameters["truncate"].set_bool_param(true);
  EncodeRequestData data;
  ASSERT_TRUE(ReadInferParameters(parameters, &data).ok());
  EXPECT_EQ(data.truncation_side, v1::TRUNCATION_SIDE_END);
  parameters["truncate"].set_bool_param(false);
  data = {};
  ASSERT_TRUE(ReadInferParameters(parameters, &data).ok());
  EXPECT_EQ(data.truncation_side, v1::TRUNCATION_SIDE_UNSPECIFIED);
}

TEST(InferParametersTest, WrongOnesAreNamedWithWhatIsKnown) {
  const auto error = [](const char* name, auto set) {
    InferParameters parameters;
    set(parameters[name]);
    EncodeRequestData data;
    const absl::Status status = ReadInferParameters(parameters, &data);
    EXPECT_EQ(GetErrorDetails(status).reason, ErrorReason::kInvalidField) << status;
    EXPECT_EQ(GetErrorDetails(status).field, "parameters[" + std::string(name) + "]") << status;
    return std::string(status.message());
  };
  using Parameter = inference::InferParameter;
  EXPECT_THAT(error("pooling", [](Parameter& p) { p.set_string_param("median"); }),
              HasSubstr("\"median\", limit mean, cls, last, max, none, spans"));
  EXPECT_THAT(error("pooling", [](Parameter& p) { p.set_bool_param(true); }),
              HasSubstr("a bool, limit string"));
  EXPECT_THAT(error("normalize", [](Parameter& p) { p.set_string_param("yes"); }),
              HasSubstr("a string, limit bool"));
  EXPECT_THAT(error("truncate_dim", [](Parameter& p) { p.set_int64_param(-1); }),
              HasSubstr("-1, limit 0 to 4294967295"));
  EXPECT_THAT(error("truncate_dim", [](Parameter& p) { p.set_double_param(8); }),
              HasSubstr("a double, limit integer"));
  EXPECT_THAT(error("timeout", [](Parameter& p) { p.set_int64_param(int64_t{1} << 62); }),
              HasSubstr("limit 0 to 86400000000"));
  EXPECT_THAT(error("priority", [](Parameter& p) { p.set_uint64_param(~uint64_t{0}); }),
              HasSubstr("18446744073709551615"));
  EXPECT_THAT(error("dtype", [](Parameter&) {}), HasSubstr("nothing, limit string"));
}

}  // namespace
}  // namespace longwave
