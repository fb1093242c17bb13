#ifndef LONGWAVE_CLIENT_TOP_METRIC_NAMES_H_
#define LONGWAVE_CLIENT_TOP_METRIC_NAMES_H_

// The metrics that `longwave top` reads. The server's list is server/observability/
// metric_catalogue.h, which client/ may not include; a test holds these to it.
namespace longwave::top {

inline constexpr char kRequests[] = "longwave_requests_total";
inline constexpr char kTokens[] = "longwave_tokens_total";
inline constexpr char kDuration[] = "longwave_request_duration_seconds";
inline constexpr char kQueue[] = "longwave_request_queue_seconds";
inline constexpr char kCompute[] = "longwave_request_compute_seconds";
inline constexpr char kBatchTokens[] = "longwave_batch_tokens";
inline constexpr char kBatchSequences[] = "longwave_batch_sequences";
inline constexpr char kBatchFill[] = "longwave_batch_fill_ratio";
inline constexpr char kAdmission[] = "longwave_admission_total";
inline constexpr char kInvalid[] = "longwave_requests_invalid_total";
inline constexpr char kStreamBytes[] = "longwave_stream_bytes_total";
inline constexpr char kQueueRequests[] = "longwave_queue_requests";
inline constexpr char kQueueTokens[] = "longwave_queue_tokens";
inline constexpr char kRunningRequests[] = "longwave_running_requests";
inline constexpr char kPausedJobs[] = "longwave_paused_jobs";
inline constexpr char kExpectedWait[] = "longwave_expected_wait_seconds";
inline constexpr char kResidentBytes[] = "longwave_resident_bytes";
inline constexpr char kReady[] = "longwave_ready";
inline constexpr char kDraining[] = "longwave_draining";
inline constexpr char kModelInfo[] = "longwave_model_info";
inline constexpr char kProcessCpu[] = "process_cpu_seconds_total";
inline constexpr char kProcessResident[] = "process_resident_memory_bytes";
inline constexpr char kProcessThreads[] = "process_threads";
inline constexpr char kProcessStart[] = "process_start_time_seconds";

inline constexpr const char* kAllMetrics[] = {
    kRequests,     kTokens,          kDuration,       kQueue,           kCompute,
    kBatchTokens,  kBatchSequences,  kBatchFill,      kAdmission,       kInvalid,
    kStreamBytes,  kQueueRequests,   kQueueTokens,    kRunningRequests, kPausedJobs,
    kExpectedWait, kResidentBytes,   kReady,          kDraining,        kModelInfo,
    kProcessCpu,   kProcessResident, kProcessThreads, kProcessStart};

}  // namespace longwave::top

#endif  // LONGWAVE_CLIENT_TOP_METRIC_NAMES_H_
