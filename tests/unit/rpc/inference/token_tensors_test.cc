// Tensors of the Open Inference Protocol -> ids and lengths: every form they may come in, and what
// is wrong with those that are none.
#include "server/rpc/inference/token_tensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"
#include "tests/unit/rpc/inference/infer_request.h"

namespace longwave {
namespace {

using inference::ModelInferRequest;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr TokenTensorRules kRules = {.vocab_size = 1000, .max_sequences = 1024};

struct Outcome {
  absl::Status status;
  std::vector<uint32_t> ids;
  std::vector<uint32_t> lengths;
  std::vector<RequestedSpan> spans;
};

Outcome Read(const ModelInferRequest& request) {
  std::string store;
  EncodeRequestData data;
  Outcome outcome;
  outcome.status = ReadTokenTensors(request, kRules, &store, &data);
  outcome.lengths = data.lengths;
  outcome.spans = data.spans;
  outcome.ids.resize(data.ids_bytes.size() / sizeof(uint32_t));
  if (!outcome.ids.empty()) {
    std::memcpy(outcome.ids.data(), data.ids_bytes.data(), data.ids_bytes.size());
  }
  return outcome;
}

void ExpectError(const ModelInferRequest& request, ErrorReason reason, const std::string& field,
                 const std::string& value = "") {
  const absl::Status status = Read(request).status;
  const ErrorDetails details = GetErrorDetails(status);
  ASSERT_FALSE(status.ok()) << field;
  EXPECT_EQ(details.reason, reason) << status;
  EXPECT_EQ(details.field, field) << status;
  if (!value.empty()) {
    EXPECT_EQ(details.value, value) << status;
  }
}

// One input of each type of whole numbers with the same ids, raw.
template <typename T>
ModelInferRequest TypedRequest(const std::string& datatype) {
  ModelInferRequest request;
  AddRawInput(request, "input_ids", datatype, {2, 3},
              RawBytes<T>(std::vector<T>{1, 2, 3, 120, 5, 6}));
  return request;
}

TEST(TokenTensorsTest, EveryTypeOfWholeNumbersIsRead) {
  const std::vector<ModelInferRequest> requests = {
      TypedRequest<int8_t>("INT8"),     TypedRequest<int16_t>("INT16"),
      TypedRequest<int32_t>("INT32"),   TypedRequest<int64_t>("INT64"),
      TypedRequest<uint8_t>("UINT8"),   TypedRequest<uint16_t>("UINT16"),
      TypedRequest<uint32_t>("UINT32"), TypedRequest<uint64_t>("UINT64")};
  for (const ModelInferRequest& request : requests) {
    const Outcome read = Read(request);
    ASSERT_TRUE(read.status.ok()) << read.status;
    EXPECT_THAT(read.ids, ElementsAre(1, 2, 3, 120, 5, 6)) << request.inputs(0).datatype();
    EXPECT_THAT(read.lengths, ElementsAre(3, 3));
  }
}

TEST(TokenTensorsTest, ValuesMayBeTheListOfTheirType) {
  ModelInferRequest request;
  auto* input = request.add_inputs();
  input->set_name("input_ids");
  input->add_shape(4);  // one sequence
  const auto expect_ids = [&](const char* datatype) {
    input->set_datatype(datatype);
    const Outcome read = Read(request);
    ASSERT_TRUE(read.status.ok()) << datatype << ": " << read.status;
    EXPECT_THAT(read.ids, ElementsAre(7, 8, 9, 10)) << datatype;
    EXPECT_THAT(read.lengths, ElementsAre(4));
  };
  for (const int id : {7, 8, 9, 10}) {
    input->mutable_contents()->add_int_contents(id);
    input->mutable_contents()->add_int64_contents(id);
    input->mutable_contents()->add_uint_contents(id);
    input->mutable_contents()->add_uint64_contents(id);
  }
  for (const char* datatype :
       {"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"}) {
    expect_ids(datatype);
  }
  input->clear_contents();
  ExpectError(request, ErrorReason::kLengthsMismatch, "inputs[input_ids]", "0 bytes");
}

TEST(TokenTensorsTest, PaddingIsLeftOut) {
  ModelInferRequest request = MakeInfer({{1, 2, 3}, {4, -7, 5000}});
  AddRawInput(request, "lengths", "INT32", {2, 1}, RawBytes<int32_t>({3, 1}));
  Outcome read = Read(request);
  ASSERT_TRUE(read.status.ok()) << read.status;  // the padding is not looked at
  EXPECT_THAT(read.ids, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(read.lengths, ElementsAre(3, 1));

  request = MakeInfer({{1, 2, 3}, {-1, -1, 5}, {-1, 6, -1}});
  AddRawInput(request, "attention_mask", "BOOL", {3, 3},
              RawBytes<uint8_t>({1, 1, 1, 0, 0, 1, 0, 1, 0}));
  read = Read(request);
  ASSERT_TRUE(read.status.ok()) << read.status;
  EXPECT_THAT(read.ids, ElementsAre(1, 2, 3, 5, 6));
  EXPECT_THAT(read.lengths, ElementsAre(3, 1, 1));
}

TEST(TokenTensorsTest, SpansAreRead) {
  ModelInferRequest request = MakeInfer({{1, 2, 3}});
  AddRawInput(request, "spans", "INT64", {2, 3}, RawBytes<int64_t>({0, 0, 2, 0, 1, 3}));
  const Outcome read = Read(request);
  ASSERT_TRUE(read.status.ok()) << read.status;
  ASSERT_EQ(read.spans.size(), 2u);
  EXPECT_EQ(read.spans[1].begin, 1u);
  EXPECT_EQ(read.spans[1].end, 3u);
  request = MakeInfer({{1, 2, 3}});
  AddRawInput(request, "spans", "INT32", {1, 3}, RawBytes<int32_t>({0, -1, 2}));
  ExpectError(request, ErrorReason::kInvalidField, "inputs[spans][0][1]", "-1");
}

TEST(TokenTensorsTest, IdsOutsideOfTheVocabularyAreToldWithPlaceSignAndSize) {
  ExpectError(MakeInfer({{1, 2}, {3, -5}}), ErrorReason::kTokenOutOfRange,
              "inputs[input_ids][1][1]", "-5");
  ExpectError(MakeInfer({{1, 1000}}), ErrorReason::kTokenOutOfRange, "inputs[input_ids][0][1]",
              "1000");
  ModelInferRequest request;
  AddRawInput(request, "input_ids", "UINT64", {1}, RawBytes<uint64_t>({uint64_t{1} << 63}));
  ExpectError(request, ErrorReason::kTokenOutOfRange, "inputs[input_ids][0][0]",
              "9223372036854775808");
}

TEST(TokenTensorsTest, ShapesThatAreNoneAreRefused) {
  struct Case {
    std::vector<int64_t> shape;
    ErrorReason reason;
  };
  const std::vector<Case> cases = {
      {{}, ErrorReason::kLengthsMismatch},
      {{1, 2, 1}, ErrorReason::kInvalidField},
      {{-1, 2}, ErrorReason::kInvalidField},
      {{0, 2}, ErrorReason::kLengthsMismatch},
      {{int64_t{1} << 40, int64_t{1} << 40}, ErrorReason::kInvalidField},
      {{1, 1, 1, 1, 1, 1, 1, 1, 2}, ErrorReason::kInvalidField}};
  for (const Case& c : cases) {
    ModelInferRequest request;
    AddRawInput(request, "input_ids", "INT32", c.shape, RawBytes<int32_t>({1, 2}));
    const absl::Status status = Read(request).status;
    EXPECT_EQ(GetErrorDetails(status).reason, c.reason) << status;
  }
}

TEST(TokenTensorsTest, EmptyBatchesCostNothing) {
  ModelInferRequest request;
  // 2^62 sequences of no tokens: nothing may be made for each.
  AddRawInput(request, "input_ids", "INT32", {int64_t{1} << 62, 0}, "");
  ExpectError(request, ErrorReason::kRequestTooLarge, "inputs[input_ids].shape");
  request.mutable_inputs(0)->set_shape(0, 8);
  ExpectError(request, ErrorReason::kEmptySequence, "inputs[input_ids].shape");
  request.mutable_inputs(0)->set_shape(0, 0);
  request.mutable_inputs(0)->set_shape(1, 8);
  ExpectError(request, ErrorReason::kEmptyRequest, "inputs[input_ids].shape");
}

TEST(TokenTensorsTest, ABatchIsBoundedBeforeAnythingIsMadeOfIt) {
  ModelInferRequest request;
  AddRawInput(request, "input_ids", "UINT8", {1025, 1}, std::string(1025, '\1'));
  ExpectError(request, ErrorReason::kRequestTooLarge, "inputs[input_ids].shape", "[1025, 1]");
}

TEST(TokenTensorsTest, RawContentsAreOnePerInput) {
  ModelInferRequest request = MakeInfer({{1, 2}});
  request.add_raw_input_contents("abc");
  ExpectError(request, ErrorReason::kLengthsMismatch, "raw_input_contents", "2 entries");
  request = MakeInfer({{1, 2}});
  request.mutable_inputs(0)->mutable_contents()->add_int_contents(1);
  ExpectError(request, ErrorReason::kConflictingFields, "inputs[input_ids].contents");
  request = MakeInfer({{1, 2}});
  request.mutable_raw_input_contents(0)->push_back('x');
  ExpectError(request, ErrorReason::kLengthsMismatch, "inputs[input_ids]", "9 bytes");
}

TEST(TokenTensorsTest, UnknownDoubleAndMissingInputsAreRefused) {
  ExpectError({}, ErrorReason::kMissingField, "inputs");
  ModelInferRequest request = MakeInfer({{1, 2}});
  AddRawInput(request, "token_type_ids", "INT32", {1, 2}, RawBytes<int32_t>({0, 0}));
  ExpectError(request, ErrorReason::kUnsupportedInput, "inputs[1].name", "\"token_type_ids\"");
  EXPECT_THAT(std::string(Read(request).status.message()), HasSubstr("attention_mask"));
  request = MakeInfer({{1, 2}});
  AddRawInput(request, "input_ids", "INT32", {1}, RawBytes<int32_t>({0}));
  ExpectError(request, ErrorReason::kConflictingFields, "inputs[1].name");
  request = MakeInfer({{1, 2}});
  request.mutable_inputs(0)->set_datatype("FP32");
  ExpectError(request, ErrorReason::kUnsupportedInput, "inputs[input_ids].datatype", "\"FP32\"");
}

TEST(TokenTensorsTest, PaddingThatCannotBeIsRefused) {
  ModelInferRequest request = MakeInfer({{1, 2, 3}});
  AddRawInput(request, "lengths", "INT32", {1, 1}, RawBytes<int32_t>({4}));
  ExpectError(request, ErrorReason::kLengthsMismatch, "inputs[lengths][0]", "4");
  request = MakeInfer({{1, 2, 3}});
  AddRawInput(request, "lengths", "INT32", {2, 1}, RawBytes<int32_t>({1, 1}));
  ExpectError(request, ErrorReason::kInvalidField, "inputs[lengths].shape", "[2, 1]");
  request = MakeInfer({{1, 2, 3}});
  AddRawInput(request, "attention_mask", "INT32", {1, 3}, RawBytes<int32_t>({1, 0, 1}));
  ExpectError(request, ErrorReason::kInvalidField, "inputs[attention_mask][0][2]");
  request = MakeInfer({{1, 2, 3}});
  AddRawInput(request, "attention_mask", "INT32", {1, 3}, RawBytes<int32_t>({1, 2, 0}));
  ExpectError(request, ErrorReason::kInvalidField, "inputs[attention_mask][0][1]", "2");
  request = MakeInfer({{1, 2, 3}});
  AddRawInput(request, "attention_mask", "INT32", {3}, RawBytes<int32_t>({1, 1, 0}));
  ExpectError(request, ErrorReason::kInvalidField, "inputs[attention_mask].shape");
  request = MakeInfer({{1, 2, 3}});
  AddRawInput(request, "attention_mask", "INT32", {1, 3}, RawBytes<int32_t>({1, 1, 0}));
  AddRawInput(request, "lengths", "INT32", {1}, RawBytes<int32_t>({2}));
  ExpectError(request, ErrorReason::kConflictingFields, "inputs[attention_mask]");
}

TEST(TokenTensorsTest, SharedMemoryIsNotThere) {
  ModelInferRequest request;
  auto* input = request.add_inputs();
  input->set_name("input_ids");
  input->set_datatype("INT32");
  input->add_shape(2);
  (*input->mutable_parameters())["shared_memory_region"].set_string_param("region");
  ExpectError(request, ErrorReason::kNotImplemented,
              "inputs[input_ids].parameters[shared_memory_region]");
  EXPECT_EQ(Read(request).status.code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace longwave
