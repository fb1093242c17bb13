#ifndef LONGWAVE_SERVER_RPC_REQUEST_DECODER_H_
#define LONGWAVE_SERVER_RPC_REQUEST_DECODER_H_

#include "longwave/v1/encode.pb.h"
#include "longwave/v1/model.pb.h"
#include "server/admission/encode_request.h"

namespace longwave {

// The request as plain C++, nothing checked. Token ids that came as bytes are not copied:
// `ids_bytes` points into `request`, which must outlive the result.
EncodeRequestData ToRequestData(const v1::EncodeRequest& request);

// An estimate's request as the Open of a stream with that shape.
EncodeRequestData ToRequestData(const v1::EstimateEncodeRequest& request);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_REQUEST_DECODER_H_
