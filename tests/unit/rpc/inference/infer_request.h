#ifndef LONGWAVE_TESTS_UNIT_RPC_INFERENCE_INFER_REQUEST_H_
#define LONGWAVE_TESTS_UNIT_RPC_INFERENCE_INFER_REQUEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "inference/inference_service.pb.h"

namespace longwave {

// The bytes of values as raw_input_contents have them.
template <typename T>
std::string RawBytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// Adds an input whose values go to raw_input_contents.
inline inference::ModelInferRequest::InferInputTensor* AddRawInput(
    inference::ModelInferRequest& request, const std::string& name, const std::string& datatype,
    const std::vector<int64_t>& shape, std::string bytes) {
  auto* input = request.add_inputs();
  input->set_name(name);
  input->set_datatype(datatype);
  input->mutable_shape()->Add(shape.begin(), shape.end());
  *request.add_raw_input_contents() = std::move(bytes);
  return input;
}

// A request of rows of ids, all of one length.
inline inference::ModelInferRequest MakeInfer(const std::vector<std::vector<int32_t>>& rows) {
  inference::ModelInferRequest request;
  request.set_model_name("fake");
  std::vector<int32_t> ids;
  for (const auto& row : rows) ids.insert(ids.end(), row.begin(), row.end());
  AddRawInput(request, "input_ids", "INT32",
              {static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows[0].size())},
              RawBytes(ids));
  return request;
}

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_RPC_INFERENCE_INFER_REQUEST_H_
