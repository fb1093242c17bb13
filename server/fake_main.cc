// longwave-fake-server: the whole server around FakeEncoder, for tests of what surrounds the model.
// Environment variables script it, so that its flags stay those of the real one:
//
//   LONGWAVE_FAKE_BASE_SECONDS, _SECONDS_PER_TOKEN, _TOKENS_PER_SLICE, _POISON_ID,
//   _OUT_OF_MEMORY_ABOVE_TOKENS
//                               as the fields of FakeEncoderOptions
//   LONGWAVE_FAKE_LOAD_SECONDS  how long loading takes
//   LONGWAVE_FAKE_FINGERPRINT   of EncoderInfo, and of the weights' digest the end
//   LONGWAVE_FAKE_FAULTS        KIND@begin:CALL or KIND@step:CALL, joined by commas, with KIND
//                               out_of_memory, job_error, device_lost, non_finite or hang
//
// A model folder may hold a file "fake" with lines KEY VALUE, which make one version differ from
// another:
//
//   digest, version, name       as EncoderInfo's; the digest is the fingerprint too
//   row_seed                    as FakeEncoderOptions'
//   max_tokens                  the longest sequence
//   weights_bytes               memory that the version holds
//   load_seconds                how long loading takes
//   fail MESSAGE                what loading ends with
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "model/api/fake_encoder.h"
#include "server/observability/muted_metrics.h"
#include "server/server_program.h"

namespace longwave {
namespace {

double FromEnvironment(const char* name, double otherwise) {
  const char* text = std::getenv(name);
  double value = otherwise;
  if (text != nullptr && !absl::SimpleAtod(text, &value)) return otherwise;
  return value;
}

// "device_lost@step:5"
absl::StatusOr<FakeFault> ParseFault(absl::string_view text) {
  constexpr std::pair<absl::string_view, FakeFault::Kind> kKinds[] = {
      {"out_of_memory", FakeFault::Kind::kOutOfMemory},
      {"job_error", FakeFault::Kind::kJobError},
      {"device_lost", FakeFault::Kind::kDeviceLost},
      {"non_finite", FakeFault::Kind::kNonFiniteRow},
      {"hang", FakeFault::Kind::kHang}};
  const std::vector<absl::string_view> parts = absl::StrSplit(text, absl::ByAnyChar("@:"));
  FakeFault fault;
  bool known = parts.size() == 3 && (parts[1] == "begin" || parts[1] == "step") &&
               absl::SimpleAtoi(parts[2], &fault.call);
  if (known) {
    fault.at = parts[1] == "begin" ? FakeFault::At::kBegin : FakeFault::At::kStep;
    known = false;
    for (const auto& [name, kind] : kKinds) {
      if (name != parts[0]) continue;
      fault.kind = kind;
      known = true;
    }
  }
  if (!known) {
    return absl::InvalidArgumentError(absl::StrCat("LONGWAVE_FAKE_FAULTS: not a fault: ", text));
  }
  return fault;
}

absl::StatusOr<std::vector<FakeFault>> ScriptedFaults() {
  std::vector<FakeFault> faults;
  const char* text = std::getenv("LONGWAVE_FAKE_FAULTS");
  for (absl::string_view part :
       absl::StrSplit(text == nullptr ? "" : text, ',', absl::SkipEmpty())) {
    const absl::StatusOr<FakeFault> fault = ParseFault(part);
    if (!fault.ok()) return fault.status();
    faults.push_back(*fault);
  }
  return faults;
}

// As two models that differ in nothing but name and weights.
void SetFingerprint(EncoderInfo& info) {
  const char* text = std::getenv("LONGWAVE_FAKE_FINGERPRINT");
  if (text == nullptr) return;
  info.fingerprint = text;
  const size_t length = std::min(info.fingerprint.size(), info.weights_digest.size());
  info.weights_digest.replace(info.weights_digest.size() - length, length, text, length);
}

using Fields = std::map<std::string, std::string>;

Fields ReadFields(const std::string& folder) {
  Fields fields;
  std::ifstream file(absl::StrCat(folder, "/fake"));
  std::string line;
  while (std::getline(file, line)) {
    const std::pair<std::string, std::string> field = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    fields.insert(field);
  }
  return fields;
}

int64_t Number(const Fields& fields, const std::string& key, int64_t otherwise) {
  int64_t value = otherwise;
  const auto found = fields.find(key);
  if (found != fields.end() && !absl::SimpleAtoi(found->second, &value)) return otherwise;
  return value;
}

void SetVersion(const Fields& fields, const std::string& version, FakeEncoderOptions& options) {
  EncoderInfo& info = options.info;
  for (const auto& [key, value] : fields) {
    if (key == "name") info.model = value;
    if (key == "version") info.version = value;
    if (key == "digest") info.weights_digest = info.fingerprint = value;
  }
  if (!version.empty()) info.version = version;
  info.max_tokens = Number(fields, "max_tokens", info.max_tokens);
  options.row_seed = static_cast<uint64_t>(Number(fields, "row_seed", 0));
}

// Holds memory as a model of that size does.
class WeightyEncoder final : public FakeEncoder {
 public:
  WeightyEncoder(FakeEncoderOptions options, int64_t bytes)
      : FakeEncoder(std::move(options)), weights_(static_cast<size_t>(bytes), 'w') {}

 private:
  const std::string weights_;
};

FakeEncoderOptions ScriptedOptions() {
  FakeEncoderOptions options;
  // Sleeping leaves the processor to the server, as an accelerator would.
  options.pace = FakePace::kSleep;
  options.base_seconds = FromEnvironment("LONGWAVE_FAKE_BASE_SECONDS", 1e-3);
  options.seconds_per_token = FromEnvironment("LONGWAVE_FAKE_SECONDS_PER_TOKEN", 1e-6);
  options.tokens_per_slice =
      static_cast<int64_t>(FromEnvironment("LONGWAVE_FAKE_TOKENS_PER_SLICE", 1024));
  options.poison_id = static_cast<int32_t>(FromEnvironment("LONGWAVE_FAKE_POISON_ID", -1));
  options.out_of_memory_above_tokens =
      static_cast<int64_t>(FromEnvironment("LONGWAVE_FAKE_OUT_OF_MEMORY_ABOVE_TOKENS", 0));
  SetFingerprint(options.info);
  return options;
}

int Main(int argc, char** argv) {
  EncoderSource source;
  source.configure = [](const ModelOptions& options) -> absl::StatusOr<int64_t> {
    return Number(ReadFields(options.path), "max_tokens", FakeEncoderInfo().max_tokens);
  };
  source.load = [](const ModelOptions& model, const std::string& version, ServiceMetrics*,
                   Logger*) -> absl::StatusOr<std::unique_ptr<Encoder>> {
    FakeEncoderOptions options = ScriptedOptions();
    const Fields fields = ReadFields(model.path);
    SetVersion(fields, version, options);
    auto faults = ScriptedFaults();
    if (!faults.ok()) return faults.status();
    options.faults = *std::move(faults);
    double seconds = FromEnvironment("LONGWAVE_FAKE_LOAD_SECONDS", 0);
    if (const auto own = fields.find("load_seconds"); own != fields.end()) {
      if (!absl::SimpleAtod(own->second, &seconds)) return absl::InvalidArgumentError(own->second);
    }
    std::this_thread::sleep_for(FromSeconds(seconds));
    if (const auto failure = fields.find("fail"); failure != fields.end()) {
      return absl::InvalidArgumentError(failure->second);
    }
    return std::make_unique<WeightyEncoder>(std::move(options), Number(fields, "weights_bytes", 0));
  };
  source.wrap_metrics = [](std::unique_ptr<ServiceMetrics> metrics) {
    if (std::getenv("LONGWAVE_FAKE_MUTE_METRICS") == nullptr) return metrics;
    return std::unique_ptr<ServiceMetrics>(std::make_unique<MutedMetrics>(std::move(metrics)));
  };
  source.build_info = {{"version", "fake"}};
  return RunServerProgram(argc, argv, source);
}

}  // namespace
}  // namespace longwave

int main(int argc, char** argv) { return longwave::Main(argc, argv); }
