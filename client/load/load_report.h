#ifndef LONGWAVE_CLIENT_LOAD_LOAD_REPORT_H_
#define LONGWAVE_CLIENT_LOAD_LOAD_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "client/load/load_result.h"

namespace longwave::load {

// One group as the report calls it.
struct GroupLabel {
  std::string name;
  double calls_per_second = 0;  // mean over the time that counts
  std::string tokens;           // the length mix
  double deadline_seconds = 0;  // infinite: none
  std::string priority;
  std::string tenant;
};

// Everything that is told of a run.
struct LoadReport {
  std::vector<std::string> targets;
  std::string model;
  std::string device;
  uint64_t seed = 0;
  double warmup_seconds = 0;
  bool retries = false;
  std::vector<GroupLabel> groups;
  std::vector<std::string> problems;  // not empty: there are no figures
  LoadResult result;
};

// For people: one block a group, and the sum where there are several. `distribution` adds the whole
// latency distribution of each group.
std::string FormatLoadText(const LoadReport& report, bool distribution);
// One JSON object on one line. Without figures if the run is not valid.
std::string FormatLoadJson(const LoadReport& report);
// The sum of all groups.
GroupResult Total(const LoadResult& result);

}  // namespace longwave::load

#endif  // LONGWAVE_CLIENT_LOAD_LOAD_REPORT_H_
