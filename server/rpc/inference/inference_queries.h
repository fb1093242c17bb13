#ifndef LONGWAVE_SERVER_RPC_INFERENCE_INFERENCE_QUERIES_H_
#define LONGWAVE_SERVER_RPC_INFERENCE_INFERENCE_QUERIES_H_

#include "absl/status/statusor.h"
#include "inference/inference_service.pb.h"
#include "server/rpc/service_core.h"

// What the Open Inference Protocol's questions are answered with. They say of the model in service
// what GetModel says, in the protocol's words.
namespace longwave {

// Whether a model is one to send requests to; an empty name or version: that in service.
inference::ModelReadyResponse DescribeReadiness(const inference::ModelReadyRequest& request,
                                                const ServiceCore& core);
inference::ServerMetadataResponse DescribeServer(const ServiceCore& core);
// UNKNOWN_MODEL, here and below, unless name and version are those of the model in service, or
// empty.
absl::StatusOr<inference::ModelMetadataResponse> DescribeModel(
    const inference::ModelMetadataRequest& request, const EncoderInfo& info);
absl::StatusOr<inference::ModelConfigResponse> DescribeConfig(
    const inference::ModelConfigRequest& request, const EncoderInfo& info,
    const RequestLimits& limits);
// Sums over the process's life, whatever version was in service meanwhile: those of the histograms
// of Prometheus. NOT_IMPLEMENTED where nothing is counted.
absl::StatusOr<inference::ModelStatisticsResponse> DescribeStatistics(
    const inference::ModelStatisticsRequest& request, const EncoderInfo& info,
    const ServiceCore& core);
inference::RepositoryIndexResponse DescribeRepository(
    const inference::RepositoryIndexRequest& request, const Backend& backend,
    const ServiceCore& core);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_INFERENCE_INFERENCE_QUERIES_H_
