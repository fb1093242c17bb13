#ifndef LONGWAVE_TESTS_UNIT_ADMISSION_VALIDATOR_FIXTURE_H_
#define LONGWAVE_TESTS_UNIT_ADMISSION_VALIDATOR_FIXTURE_H_

#include <functional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/api/fake_encoder.h"
#include "model/base/error.h"
#include "server/admission/validator.h"

namespace longwave {

// The model that requests of these tests are checked against: 16 dims, 2 layers, 300 ids, at most
// 100 tokens a sequence.
inline EncoderInfo SmallInfo() {
  EncoderInfo info = FakeEncoderInfo();
  info.vocab_size = 300;
  info.max_tokens = 100;
  return info;
}

// Small enough to be met from both sides.
inline RequestLimits SmallLimits() {
  RequestLimits limits;
  limits.max_sequences = 4;
  limits.max_request_tokens = 250;
  limits.max_spans = 8;
  limits.max_request_id_bytes = 16;
  return limits;
}

// `lengths` sequences of ids 0, 1, 2, ... given as a list.
inline EncodeRequestData RequestOf(const std::vector<uint32_t>& lengths) {
  EncodeRequestData request;
  request.lengths = lengths;
  uint32_t total = 0;
  for (const uint32_t length : lengths) total += length;
  for (uint32_t i = 0; i < total; ++i) request.ids_list.push_back(i % 300);
  return request;
}

// A change of a request of two sequences of 10 tokens, and what the validator says of it.
struct ValidatorCase {
  std::string name;
  std::function<void(EncodeRequestData&)> change;
  ErrorReason reason = ErrorReason::kInternal;
  std::string field;
  std::string value;
  std::string limit;
};

inline void PrintTo(const ValidatorCase& test_case, std::ostream* out) { *out << test_case.name; }

inline std::string CaseName(const ::testing::TestParamInfo<ValidatorCase>& info) {
  return info.param.name;
}

inline void ExpectRefused(const ValidatorCase& test_case, const Encoder& encoder,
                          const RequestLimits& limits) {
  EncodeRequestData request = RequestOf({10, 10});
  test_case.change(request);
  const absl::Status status = ValidateEncodeRequest(request, encoder, limits).status();
  const ErrorDetails details = GetErrorDetails(status);
  EXPECT_EQ(ErrorReasonName(details.reason), ErrorReasonName(test_case.reason)) << status;
  EXPECT_EQ(details.field, test_case.field) << status;
  EXPECT_EQ(details.value, test_case.value) << status;
  EXPECT_EQ(details.limit, test_case.limit) << status;
  EXPECT_FALSE(details.retry_after.has_value());
}

inline absl::Status Validate(const EncodeRequestData& request) {
  static const FakeEncoder* const encoder = new FakeEncoder({.info = SmallInfo()});
  return ValidateEncodeRequest(request, *encoder, SmallLimits()).status();
}

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_ADMISSION_VALIDATOR_FIXTURE_H_
