#ifndef LONGWAVE_CLIENT_CLI_LOAD_GROUP_SPEC_H_
#define LONGWAVE_CLIENT_CLI_LOAD_GROUP_SPEC_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/cli/load_arguments.h"

namespace longwave::cli {

// The fields of a group, each as its text on the command line.
//   rate=200, rate=2000@60+140@20 (calls a second @ seconds), arrivals=even, tokens=...,
//   deadline=0.25, priority=batch, tenant=a, documents=16, cancel=0.5@0.01 (share @ seconds),
//   api_key_file=..., metadata=key:value, name=...
// `phase_seconds` is how long a rate without "@" lasts. INVALID_ARGUMENT says what is wrong with
// the value, or lists the fields.
absl::Status SetGroupField(absl::string_view field, absl::string_view value, double phase_seconds,
                           LoadGroup* group);

// "name=a,rate=10,tokens=128": `otherwise` with these fields set.
absl::StatusOr<LoadGroup> ParseGroup(absl::string_view spec, double phase_seconds,
                                     LoadGroup otherwise);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_LOAD_GROUP_SPEC_H_
