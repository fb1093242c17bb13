#ifndef LONGWAVE_CLIENT_CLI_NAMES_H_
#define LONGWAVE_CLIENT_CLI_NAMES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "longwave/v1/encode.pb.h"

namespace longwave::cli {

// Words of the command line for the API's enums. INVALID_ARGUMENT lists the known ones.
absl::StatusOr<v1::Pooling> ParsePooling(absl::string_view name);
absl::StatusOr<v1::DataType> ParseDataType(absl::string_view name);
absl::StatusOr<v1::Route> ParseRoute(absl::string_view name);
absl::StatusOr<v1::Priority> ParsePriority(absl::string_view name);
absl::StatusOr<v1::TruncationSide> ParseTruncation(absl::string_view name);

// The words that these know.
std::vector<std::string> PoolingNames();
std::vector<std::string> DataTypeNames();
std::vector<std::string> RouteNames();
std::vector<std::string> PriorityNames();
std::vector<std::string> TruncationNames();

// "chunkwise"; numbers that this program does not know as they are.
std::string RouteName(v1::Route route);
std::string PoolingName(v1::Pooling pooling);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_NAMES_H_
