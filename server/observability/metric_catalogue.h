#ifndef LONGWAVE_SERVER_OBSERVABILITY_METRIC_CATALOGUE_H_
#define LONGWAVE_SERVER_OBSERVABILITY_METRIC_CATALOGUE_H_

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "model/base/error.h"

// Every metric name, help text, bucket edge and label value of the service. Nothing else in the
// project spells one. Units are base units (seconds, bytes, tokens); counters end in _total.
namespace longwave::catalogue {

struct Metric {
  const char* name;
  const char* help;
};

inline constexpr Metric kRequestsStarted{"longwave_requests_started_total",
                                         "Requests begun; minus requests_total: in flight."};
inline constexpr Metric kRequests{"longwave_requests_total", "Requests ended, by status code."};
inline constexpr Metric kRequestDuration{
    "longwave_request_duration_seconds",
    "Arrival to end of Encode and EncodeStream requests. code: ok, client (the caller's fault or "
    "wish), server (ours; also a deadline that passed after the request was let in), shed (refused "
    "for load); len_class is 'any' unless ok."};
inline constexpr Metric kRequestQueue{"longwave_request_queue_seconds",
                                      "Admission to the first sequence leaving the queue."};
inline constexpr Metric kRequestCompute{"longwave_request_compute_seconds",
                                        "First slice to last row of requests that ended OK."};
inline constexpr Metric kStageDuration{
    "longwave_stage_duration_seconds",
    "Parts of the duration of requests that ended OK; the stages add up to it."};
inline constexpr Metric kTimeToFirstChunk{"longwave_time_to_first_chunk_seconds",
                                          "Arrival of a streamed request to its first rows."};
inline constexpr Metric kSecondsPerMegatoken{
    "longwave_seconds_per_megatoken",
    "Compute seconds per million tokens of requests that ended OK: flat where the route is "
    "linear."};
inline constexpr Metric kRequestTokens{"longwave_request_tokens",
                                       "Tokens of requests that ended OK."};
inline constexpr Metric kBatchTokens{"longwave_batch_tokens", "Tokens of a batch."};
inline constexpr Metric kBatchSequences{"longwave_batch_sequences", "Sequences of a batch."};
inline constexpr Metric kBatchFill{"longwave_batch_fill_ratio",
                                   "Share of the batch budget that a batch used."};
inline constexpr Metric kTokens{"longwave_tokens_total",
                                "Tokens computed; kind=padded: computed for nobody."};
inline constexpr Metric kAdmission{"longwave_admission_total",
                                   "Well-formed requests let in or turned away for load."};
inline constexpr Metric kInvalid{"longwave_requests_invalid_total",
                                 "Requests refused for what they ask, by reason."};
inline constexpr Metric kCancelled{"longwave_requests_cancelled_total",
                                   "Requests whose caller left before the end."};
inline constexpr Metric kRetried{
    "longwave_requests_retried_total",
    "Encode calls that a client sent again, by how many attempts came before."};
inline constexpr Metric kRoutes{"longwave_route_total",
                                "Requests that ended OK, by the route of their longest sequence."};
inline constexpr Metric kDeviceErrors{"longwave_device_errors_total",
                                      "Computations that failed, by kind."};
inline constexpr Metric kCpuFallback{"longwave_cpu_fallback_total",
                                     "Times a CPU was used where a GPU could have been."};
inline constexpr Metric kCostPrediction{"longwave_cost_prediction_ratio",
                                        "Measured seconds of a batch over predicted ones."};
inline constexpr Metric kSlice{"longwave_slice_seconds",
                               "Length of one slice of work, the unit of fairness."};
inline constexpr Metric kStreamChunks{"longwave_stream_chunks_total",
                                      "Chunks of rows sent on streams."};
inline constexpr Metric kStreamBytes{"longwave_stream_bytes_total",
                                     "Payload bytes of rows sent on streams."};
inline constexpr Metric kStreamStalled{"longwave_stream_stalled_seconds_total",
                                       "Time that jobs stood still for slow readers."};
inline constexpr Metric kModelLoad{"longwave_model_load_seconds",
                                   "Duration of each phase of loading the model."};
inline constexpr Metric kModelLoads{
    "longwave_model_loads_total",
    "Model versions that were read. ok: put in service; unchanged: what is served already; "
    "refused: "
    "good, but not for this process; failed: not a model that can be served."};
inline constexpr Metric kModelInfo{"longwave_model_info", "Always 1; describes the model."};
inline constexpr Metric kBuildInfo{"longwave_build_info", "Always 1; describes the program."};

// Read from the parts that own the truth when scraped.
inline constexpr Metric kQueueRequests{"longwave_queue_requests", "Requests that wait."};
inline constexpr Metric kQueueTokens{"longwave_queue_tokens", "Tokens of requests that wait."};
inline constexpr Metric kRunningRequests{"longwave_running_requests",
                                         "Requests that are being computed."};
inline constexpr Metric kPausedJobs{"longwave_paused_jobs",
                                    "Jobs between two slices while another one runs."};
inline constexpr Metric kResidentBytes{"longwave_resident_bytes", "Memory that started jobs hold."};
inline constexpr Metric kExpectedWait{
    "longwave_expected_wait_seconds",
    "Predicted seconds until a request that arrives now is begun: the autoscaling signal."};
inline constexpr Metric kCostWeather{
    "longwave_cost_weather_ratio",
    "How many times longer than the cost model's fit jobs take just now: throttling, neighbours."};
inline constexpr Metric kCostHigh{
    "longwave_cost_high_ratio",
    "95th percentile of measured over predicted seconds of the last jobs; deadlines are judged "
    "with it."};
inline constexpr Metric kReady{"longwave_ready", "1 if the model is loaded and checked."};
inline constexpr Metric kDraining{"longwave_draining", "1 once shutdown has begun."};
inline constexpr Metric kFftGuard{
    "longwave_fft_guard_total",
    "Heads of layers by what the FFT route's precision guard took; tiles: no FFT was precise "
    "enough."};
inline constexpr Metric kFftRows{
    "longwave_fft_rows_recomputed_total",
    "Rows of the FFT route that were computed once more without transforms: their denominator was "
    "too small beside the largest."};
inline constexpr Metric kTlsNotAfter{
    "longwave_tls_certificate_not_after_timestamp_seconds",
    "When the certificates in use end, seconds since 1970; absent without TLS."};
inline constexpr Metric kTlsReloads{"longwave_tls_reloads_total",
                                    "Changes of the certificate files, taken into use or refused."};
inline constexpr Metric kTlsHandshakeFailures{
    "longwave_tls_handshake_failures_total",
    "Connections that TLS refused: versions, ciphers, certificates, or no TLS at all."};
inline constexpr Metric kTenantReloads{
    "longwave_tenant_reloads_total", "Changes of the file of tenants, taken into use or refused."};
inline constexpr Metric kAuthFailures{"longwave_auth_failures_total",
                                      "Requests refused for their API key, by reason."};
inline constexpr Metric kLogDropped{"longwave_log_dropped_total",
                                    "Log lines lost because the log could not take them."};

inline constexpr Metric kConnectionsRefused{
    "longwave_connections_refused_total",
    "Connections closed at once because descriptors were short."};

inline constexpr Metric kProcessCpu{"process_cpu_seconds_total", "User and system CPU time."};
inline constexpr Metric kProcessResident{"process_resident_memory_bytes", "Resident memory."};
inline constexpr Metric kProcessVirtual{"process_virtual_memory_bytes", "Virtual memory."};
inline constexpr Metric kProcessOpenFds{"process_open_fds", "Open file descriptors."};
inline constexpr Metric kProcessMaxFds{"process_max_fds", "Limit on open file descriptors."};
inline constexpr Metric kProcessStart{"process_start_time_seconds",
                                      "Start of the process, seconds since 1970."};
inline constexpr Metric kProcessThreads{"process_threads", "Threads of the process."};

// Bucket edges. The latency objectives 0.05, 0.5 and 5 s are edges in every one that judges them:
// a burn rate is exact only there. Queue and compute have every other edge besides, to stay in the
// series budget.
inline constexpr std::array kDurationEdges = {.001, .002, .005, .01, .02, .05, .1,  .2,  .35, .5,
                                              .75,  1.,   1.5,  2.5, 5.,  10., 20., 30., 60., 120.};
inline constexpr std::array kPartEdges = {.001, .005, .02, .05, .1,  .2,  .5,
                                          1.,   2.5,  5.,  10., 30., 60., 120.};
inline constexpr std::array kStageEdges = {.0001, .001, .01, .05, .5, 5., 30., 120.};
inline constexpr std::array kFirstChunkEdges = {.01, .05, .2, .5, 1., 5., 20., 60.};
inline constexpr std::array kMegatokenEdges = {.1, 1., 10., 30., 100., 300., 1000.};
inline constexpr std::array kTokenEdges = {16.,    64.,    256.,    1024.,   4096.,
                                           16384., 65536., 262144., 1048576.};
inline constexpr std::array kSequenceEdges = {1., 2., 4., 8., 16., 32., 64., 128., 256.};
inline constexpr std::array kFillEdges = {.1, .25, .5, .75, .9, 1.};
inline constexpr std::array kPredictionEdges = {.25, .5, .7, .85, 1., 1.15, 1.4, 2., 4.};
inline constexpr std::array kSliceEdges = {.001, .002, .005, .01, .02, .05, .1, .25, 1., 5.};

// Label values: closed sets, each created at zero.
inline constexpr std::array kLengthClasses = {"le1k", "le4k", "le16k", "le64k", "le256k", "gt256k"};
inline constexpr int kLengthClassCount = static_cast<int>(kLengthClasses.size());
inline constexpr const char* kAnyLength = "any";
inline constexpr std::array kPriorities = {"interactive", "batch"};
inline constexpr std::array kCodeClasses = {"ok", "client", "server", "shed"};
inline constexpr std::array kStages = {"receive", "validate",  "queue",
                                       "compute", "serialise", "other"};
// Names of model/api's Route without "auto", and what none of them is.
inline constexpr std::array kRouteLabels = {"direct", "tiles",         "chunkwise",
                                            "fft",    "interpolation", "none"};
// Attempts of the same call before.
inline constexpr std::array kAttemptLabels = {"1", "2", "3plus"};
inline constexpr std::array kGuardPrecisions = {"fp32", "fp64", "tiles"};
inline constexpr std::array kDeviceErrorKinds = {"oom", "lost", "nonfinite", "degenerate"};
inline constexpr std::array kFallbackReasons = {"no_driver", "no_device", "init_failed", "other"};
inline constexpr std::array kCertificates = {"server", "client_ca"};
inline constexpr std::array kReloadResults = {"success", "failure"};
inline constexpr std::array kAuthFailureReasons = {"missing", "malformed", "unknown_key",
                                                   "tenant_mismatch"};
inline constexpr std::array kLoadResults = {"ok", "unchanged", "refused", "failed"};
inline constexpr std::array kLoadPhases = {"open",    "read",   "convert", "certify",
                                           "goldens", "warmup", "other"};

enum class CodeClass { kOk, kClient, kServer, kShed };

// Index into kLengthClasses; what is not positive counts as short.
int LengthClass(int64_t tokens);
// Whose matter a failure is. Shed: refused for load or because this replica cannot take it now.
// A deadline that had passed on arrival is the caller's; one that passes after the request was let
// in is ours, since it was let in because it would be met.
CodeClass ClassOf(ErrorReason reason, bool admitted);
// Reasons of kAdmission with decision "shed": kShed's, and a deadline that had passed on arrival.
bool IsShed(ErrorReason reason);
// Reasons of kInvalid: the request would be refused whatever the load.
bool IsInvalid(ErrorReason reason);
// The codes that the service chooses, each a label value of kRequests; any other is "UNKNOWN".
absl::Span<const absl::StatusCode> ServedCodes();
const char* CodeName(absl::StatusCode code);

// Upper bound on the number of time series in one scrape, whatever is recorded.
inline constexpr int kSeriesBudget = 1600;

}  // namespace longwave::catalogue

#endif  // LONGWAVE_SERVER_OBSERVABILITY_METRIC_CATALOGUE_H_
