#include "server/observability/process_collector.h"

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "server/observability/metric_catalogue.h"
#include "server/observability/metric_family.h"

namespace longwave {
namespace {

std::string ReadFile(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

int64_t OpenFileDescriptors() {
  std::error_code error;
  std::filesystem::directory_iterator entries("/proc/self/fd", error);
  if (error) return 0;
  // One of them is the directory that is being read.
  return std::distance(begin(entries), end(entries)) - 1;
}

double MaxFileDescriptors() {
  struct rlimit limit = {};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<double>(limit.rlim_cur) : 0;
}

double BootTimeSeconds() {
  for (absl::string_view line : absl::StrSplit(ReadFile("/proc/stat"), '\n')) {
    double seconds = 0;
    if (absl::ConsumePrefix(&line, "btime ") && absl::SimpleAtod(line, &seconds)) return seconds;
  }
  return 0;
}

class ProcessCollector final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    const ProcessStat stat = ParseProcessStat(ReadFile("/proc/self/stat")).value_or(ProcessStat{});
    const double cpu = (stat.user_ticks + stat.system_ticks) / ticks_per_second_;
    return {
        CounterFamily(catalogue::kProcessCpu, cpu),
        GaugeFamily(catalogue::kProcessResident, stat.resident_pages * page_bytes_),
        GaugeFamily(catalogue::kProcessVirtual, stat.virtual_bytes),
        GaugeFamily(catalogue::kProcessOpenFds, OpenFileDescriptors()),
        GaugeFamily(catalogue::kProcessMaxFds, MaxFileDescriptors()),
        GaugeFamily(catalogue::kProcessStart, boot_seconds_ + stat.start_ticks / ticks_per_second_),
        GaugeFamily(catalogue::kProcessThreads, stat.threads),
    };
  }

 private:
  const double ticks_per_second_ = static_cast<double>(sysconf(_SC_CLK_TCK));
  const double page_bytes_ = static_cast<double>(sysconf(_SC_PAGESIZE));
  const double boot_seconds_ = BootTimeSeconds();
};

}  // namespace

std::optional<ProcessStat> ParseProcessStat(absl::string_view text) {
  const size_t name_end = text.rfind(')');
  if (name_end == absl::string_view::npos) return std::nullopt;
  const std::vector<absl::string_view> fields =
      absl::StrSplit(text.substr(name_end + 1), absl::ByAnyChar(" \n"), absl::SkipEmpty());
  // proc(5) counts from 1; the first field after the name is number 3.
  const auto read = [&fields](size_t number, int64_t* value) {
    return number - 3 < fields.size() && absl::SimpleAtoi(fields[number - 3], value);
  };
  ProcessStat stat;
  const bool complete = read(14, &stat.user_ticks) && read(15, &stat.system_ticks) &&
                        read(20, &stat.threads) && read(22, &stat.start_ticks) &&
                        read(23, &stat.virtual_bytes) && read(24, &stat.resident_pages);
  if (!complete) return std::nullopt;
  return stat;
}

std::shared_ptr<prometheus::Collectable> MakeProcessCollector() {
  return std::make_shared<ProcessCollector>();
}

}  // namespace longwave
