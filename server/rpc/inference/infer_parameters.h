#ifndef LONGWAVE_SERVER_RPC_INFERENCE_INFER_PARAMETERS_H_
#define LONGWAVE_SERVER_RPC_INFERENCE_INFER_PARAMETERS_H_

#include <string>

#include "absl/status/status.h"
#include "google/protobuf/map.h"
#include "inference/inference_service.pb.h"
#include "server/admission/encode_request.h"

namespace longwave {

using InferParameters = google::protobuf::Map<std::string, inference::InferParameter>;

// Reads the parameters of a request that are ours or the protocol's into `data`:
//
//   pooling               "mean", "cls", "last", "max", "none", "spans"
//   dtype                 "fp32", "fp16", "bf16", "int8", "binary"
//   normalize             bool
//   truncate_dim          integer; with allow_undeclared_dim (bool)
//   truncate              bool: cut what is too long at its end, rather than refuse it
//   truncation_side       "end", "start"; implies truncate
//   truncate_max_tokens   integer
//   tokenizer_fingerprint string
//   deterministic         bool
//   timeout               integer, microseconds
//   priority              integer; 0 or 1: interactive, above: batch
//
// The others are ignored, as the protocol wants it. A value of another type, and a word that is not
// known, is INVALID_FIELD.
absl::Status ReadInferParameters(const InferParameters& parameters, EncodeRequestData* data);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_INFERENCE_INFER_PARAMETERS_H_
