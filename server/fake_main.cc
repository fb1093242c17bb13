// longwave-fake-server: the whole server around FakeEncoder, for tests of what surrounds the model.
// Environment variables script it, so that its flags stay those of the real one.
#include <cstdlib>
#include <string>

#include "absl/strings/numbers.h"
#include "model/api/fake_encoder.h"
#include "server/serve.h"

namespace longwave {
namespace {

double FromEnvironment(const char* name, double otherwise) {
  const char* text = std::getenv(name);
  double value = otherwise;
  if (text != nullptr && !absl::SimpleAtod(text, &value)) return otherwise;
  return value;
}

FakeEncoderOptions ScriptedOptions() {
  FakeEncoderOptions options;
  // Sleeping leaves the processor to the server, as an accelerator would.
  options.pace = FakePace::kSleep;
  options.base_seconds = FromEnvironment("LONGWAVE_FAKE_BASE_SECONDS", 1e-3);
  options.seconds_per_token = FromEnvironment("LONGWAVE_FAKE_SECONDS_PER_TOKEN", 1e-6);
  options.tokens_per_slice =
      static_cast<int64_t>(FromEnvironment("LONGWAVE_FAKE_TOKENS_PER_SLICE", 1024));
  options.poison_id = static_cast<int32_t>(FromEnvironment("LONGWAVE_FAKE_POISON_ID", -1));
  return options;
}

int Main(int argc, char** argv) {
  EncoderSource source;
  source.configure = [](const ModelOptions&) -> absl::StatusOr<int64_t> {
    return FakeEncoderInfo().max_tokens;
  };
  source.load = [](const ModelOptions&, ServiceMetrics*,
                   Logger*) -> absl::StatusOr<std::unique_ptr<Encoder>> {
    return std::make_unique<FakeEncoder>(ScriptedOptions());
  };
  source.build_info = {{"version", "fake"}};
  return RunServerProgram(argc, argv, source);
}

}  // namespace
}  // namespace longwave

int main(int argc, char** argv) { return longwave::Main(argc, argv); }
