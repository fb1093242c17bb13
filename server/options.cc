#include "server/options.h"

#include <array>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "server/flag_table.h"
#include "server/observability/safe_text.h"

namespace longwave {
namespace {

constexpr double kLoopbackDelay = 0;
constexpr double kBalancedDelay = 5;
// A day: a longer wait is a mistake.
constexpr double kLongestDrain = 24 * 3600;
// More often is work for nothing.
constexpr double kShortestPoll = 0.01;
constexpr double kLongestPoll = 24 * 3600;

// The raw values of flags that are not fields of the options.
struct RawFlags {
  bool help = false;
  bool version = false;
  bool check_config = false;
  std::optional<bool> reflection;
  std::string log_level;
  std::string log_requests;
};

// In the order of RequestLogging.
constexpr std::array<const char*, 3> kRequestLogging = {"failed", "sampled", "all"};

absl::StatusOr<RequestLogging> ParseRequestLogging(absl::string_view name) {
  for (size_t i = 0; i < kRequestLogging.size(); ++i) {
    if (kRequestLogging[i] == name) return static_cast<RequestLogging>(i);
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown value '", SafeText(name), "' (",
                                                 absl::StrJoin(kRequestLogging, ", "), ")"));
}

void AddModelFlags(ModelOptions& model, FlagTable& table) {
  table.Add(
      "model", &model.path,
      "Folder of the model: config.json, model.safetensors, longwave.json. Or a folder of such "
      "folders that are named by whole numbers, of which the highest is served.");
  table.Add("model_poll", &model.poll_seconds,
            "Seconds between two looks for another version of the model; 0 = at SIGHUP only.");
  table.Add(
      "device", &model.device,
      "Where to compute: auto (CUDA if there is one, else the CPU), cpu, cuda or cuda:INDEX.");
  table.Add("threads", &model.threads,
            "Compute threads; 0 = one per processor. Results do not depend on it.");
  table.Add("cpu_target", &model.cpu_target,
            "Instruction sets to compute with: auto, avx2 or avx512. Bits depend on it, so pin it "
            "where replicas differ.");
  table.Add("compute_dtype", &model.compute_dtype,
            "What the dense layers' products are rounded to: fp32, or on CUDA tf32 or bf16. Sums "
            "stay fp32; features, weights and denominators of the attention too.");
}

void AddPortFlags(PortOptions& port, MetricsOptions& metrics, ServerOptions& options, RawFlags& raw,
                  FlagTable& table) {
  table.Add("address", &port.address, "HOST:PORT of the gRPC port; port 0 takes any free one.");
  table.Add("port_file", &options.port_file,
            "File that gets the gRPC port's number once it is open.");
  table.Add("metrics_address", &metrics.address,
            "HOST:PORT of the Prometheus endpoint /metrics; port 0 takes any free one.");
  table.Add("reflection", &raw.reflection,
            "true on a loopback address without --tenants, else false",
            "Offer gRPC server reflection.");
  table.Add("max_connection_age", &port.max_connection_age_seconds,
            "Seconds after which a connection is closed gracefully, so that clients find new "
            "replicas; 0 = never.");
  table.Add("handshake_timeout", &port.handshake_timeout_seconds,
            "Seconds that a new connection may take for TLS and its first frames.");
  table.Add("max_concurrent_streams", &port.max_concurrent_streams,
            "Calls that one connection may have open at once.");
  table.Add("max_transport_bytes", &port.max_transport_bytes,
            "Bytes of messages on their way in and out, all connections together.");
}

void AddSecurityFlags(SecurityOptions& security, FlagTable& table) {
  table.Add("tls_certificate", &security.tls_certificate,
            "PEM file of the server's certificate and its chain: speak TLS, and nothing else.");
  table.Add("tls_key", &security.tls_key, "PEM file of its private key.");
  table.Add("tls_client_ca", &security.tls_client_ca,
            "PEM file of roots; only clients whose certificates lead to one may connect.");
  table.Add("tenants", &security.tenants,
            "JSON file of tenants, their quotas and the SHA-256 of their API keys; only they may "
            "call.");
  table.Add("allow_plaintext", &security.allow_plaintext,
            "Serve without TLS on an address that others can reach.");
  table.Add("reload_interval", &security.reload_seconds,
            "Seconds between looks whether the files above have changed.");
}

void AddCallFlags(CallOptions& calls, FlagTable& table) {
  table.Add("allow_route_override", &calls.limits.allow_route_override,
            "Honour route_override of requests.");
  table.Add("max_deadline", &calls.max_deadline_seconds,
            "Seconds that a unary call may take, whatever its caller's deadline says.");
  table.Add("max_stream_deadline", &calls.max_stream_deadline_seconds,
            "The same for one request of a stream, from its Open on.");
  table.Add("max_sequences", &calls.limits.max_sequences, "Sequences of one request.");
  table.Add("max_request_tokens", &calls.limits.max_request_tokens,
            "Tokens of one unary request, all sequences together.");
  table.Add("max_stream_tags", &calls.max_stream_tags, "Requests open on one stream at once.");
  table.Add("max_receiving_bytes", &calls.max_receiving_bytes,
            "Token ids of all streams that have arrived and are not yet queued, in bytes.");
  table.Add("stream_buffer_bytes", &calls.stream_buffer_bytes,
            "Rows of one stream request that wait for its reader before its computation pauses.");
}

void AddSchedulerFlags(SchedulerOptions& scheduler, FlagTable& table) {
  table.Add("max_queue_sequences", &scheduler.admission.max_queue_sequences,
            "Sequences that may wait; more are refused with QUEUE_FULL. Of this and the next two "
            "limits the batch class, and any one tenant, may hold as much as it leaves free.");
  table.Add("max_queue_tokens", &scheduler.admission.max_queue_tokens, "Tokens that may wait.");
  table.Add(
      "max_host_bytes", &scheduler.admission.max_host_bytes,
      "Bytes of ids of all requests that have not ended, and of replies until their clients have "
      "taken them; more is refused with MEMORY_FULL.");
  table.Add("max_wait", &scheduler.admission.max_wait_seconds,
            "Predicted seconds that others may keep an interactive request waiting, beyond its own "
            "time; more is refused with QUEUE_FULL.");
  table.Add("max_batch_class_wait", &scheduler.admission.max_batch_class_wait_seconds,
            "The same for requests of the batch class.");
  table.Add("max_batch_seconds", &scheduler.max_batch_seconds,
            "Predicted seconds of one batch; a longer sequence rides alone.");
  table.Add("max_batch_tokens", &scheduler.max_batch_tokens, "Tokens of one batch.");
  table.Add("max_batch_sequences", &scheduler.max_batch_sequences, "Sequences of one batch.");
  table.Add("max_resident_bytes", &scheduler.max_resident_bytes,
            "Memory of paused and running work together, predicted.");
  table.Add("max_paused_jobs", &scheduler.max_paused_jobs,
            "Long computations paused while shorter ones run.");
  table.Add("max_stall", &scheduler.max_stall_seconds,
            "Seconds that a reader may hold up its stream, all stalls together, before it is given "
            "up; every 128 KiB of rows that it takes make good for one of them.");
}

void AddLifeFlags(ServerOptions& options, RawFlags& raw, FlagTable& table) {
  table.Add("drain_delay", &options.drain.delay_seconds, "0 on a loopback address, else 5",
            "Seconds that calls are still taken after SIGTERM, while balancers move away.");
  table.Add("grace", &options.drain.grace_seconds,
            "Seconds that calls in flight may take after that.");
  table.Add("refuse_beyond_grace", &options.drain.refuse_beyond_grace,
            "Refuse sequences that are predicted to take longer than --grace (EXCEEDS_GRACE).");
  table.Add("hang_limit", &options.hang_seconds,
            "Seconds that one slice of computation may take before its device counts as lost and "
            "the process ends; 0 = for ever.");
  table.Add("log_level", &raw.log_level, "debug, info, warning or error; one JSON line an event.");
  table.Add(
      "log_requests", &raw.log_requests,
      "Requests that have a line of their own at level info: failed, sampled (also those whose "
      "traceparent says so) or all.");
  table.Add("check_config", &raw.check_config, "Check flags and the model's configuration, exit.");
  table.Add("help", &raw.help, "Print this text, exit.");
  table.Add("version", &raw.version, "Print the version, exit.");
}

void Collect(const absl::Status& status, std::vector<std::string>& problems) {
  if (!status.ok()) problems.emplace_back(status.message());
}

void CheckAll(const ServerOptions& options, std::vector<std::string>& problems) {
  Collect(options.model.Validate(), problems);
  Collect(options.port.Validate(), problems);
  Collect(options.security.Validate(options.port.address), problems);
  Collect(options.calls.Validate(), problems);
  Collect(options.scheduler.Validate(), problems);
  Collect(options.metrics.Validate(), problems);
  Collect(options.drain.Validate(), problems);
  if (!(options.hang_seconds >= 0 && options.hang_seconds <= kLongestDrain)) {
    problems.push_back(absl::StrCat("--hang_limit = ", options.hang_seconds, ": accepted are 0 to ",
                                    kLongestDrain, " seconds"));
  }
}

}  // namespace

absl::Status ModelOptions::Validate() const {
  std::vector<std::string> problems;
  if (path.empty()) problems.push_back("--model: a model folder is needed");
  if (threads < 0 || threads > 4096) {
    problems.push_back(absl::StrCat("--threads = ", threads, ": accepted are 0 to 4096"));
  }
  if (!(poll_seconds == 0 || (poll_seconds >= kShortestPoll && poll_seconds <= kLongestPoll))) {
    problems.push_back(absl::StrCat("--model_poll = ", poll_seconds, ": accepted are 0 and ",
                                    kShortestPoll, " to ", kLongestPoll, " seconds"));
  }
  if (device != "auto" && device != "cpu" && device != "cuda" &&
      !absl::StartsWith(device, "cuda:")) {
    problems.push_back(
        absl::StrCat("--device = '", device, "': accepted are auto, cpu, cuda and cuda:INDEX"));
  }
  if (problems.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
}

absl::Status DrainOptions::Validate() const {
  std::vector<std::string> problems;
  const double delay = delay_seconds.value_or(0);
  if (!(delay >= 0 && delay <= kLongestDrain)) {
    problems.push_back(
        absl::StrCat("--drain_delay = ", delay, ": accepted are 0 to ", kLongestDrain, " seconds"));
  }
  if (!(grace_seconds >= 0 && grace_seconds <= kLongestDrain)) {
    problems.push_back(absl::StrCat("--grace = ", grace_seconds, ": accepted are 0 to ",
                                    kLongestDrain, " seconds"));
  }
  if (problems.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
}

absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments) {
  CommandLine line;
  RawFlags raw;
  raw.log_level = std::string(LogLevelName(line.options.log_level));
  raw.log_requests = kRequestLogging.front();
  FlagTable table;
  AddModelFlags(line.options.model, table);
  AddPortFlags(line.options.port, line.options.metrics, line.options, raw, table);
  AddSecurityFlags(line.options.security, table);
  AddCallFlags(line.options.calls, table);
  AddSchedulerFlags(line.options.scheduler, table);
  AddLifeFlags(line.options, raw, table);
  const std::string help = table.Help();
  std::vector<std::string> problems = table.Parse(arguments);

  ServerOptions& options = line.options;
  const bool loopback = IsLoopback(options.port.address);
  // It would describe the service to callers without a key.
  options.port.reflection = raw.reflection.value_or(loopback && options.security.tenants.empty());
  if (!options.drain.delay_seconds.has_value()) {
    options.drain.delay_seconds = loopback ? kLoopbackDelay : kBalancedDelay;
  }
  options.calls.max_stall_seconds = options.scheduler.max_stall_seconds;
  if (options.drain.refuse_beyond_grace) {
    options.scheduler.admission.max_job_seconds = options.drain.grace_seconds;
  }
  if (absl::StatusOr<LogLevel> level = ParseLogLevel(raw.log_level); level.ok()) {
    options.log_level = *level;
  } else {
    problems.push_back(absl::StrCat("--log_level: ", level.status().message()));
  }
  if (const auto logging = ParseRequestLogging(raw.log_requests); logging.ok()) {
    options.calls.log_requests = *logging;
  } else {
    problems.push_back(absl::StrCat("--log_requests: ", logging.status().message()));
  }
  if (raw.help || raw.version) {
    line.action = raw.help ? CommandLine::Action::kHelp : CommandLine::Action::kVersion;
    line.help = help;
    return line;
  }
  CheckAll(options, problems);
  if (!problems.empty()) return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
  if (raw.check_config) line.action = CommandLine::Action::kCheckConfig;
  return line;
}

}  // namespace longwave
