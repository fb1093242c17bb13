#ifndef LONGWAVE_CLIENT_CLI_OPTION_VALUES_H_
#define LONGWAVE_CLIENT_CLI_OPTION_VALUES_H_

#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/cli/access.h"
#include "client/cli/option_parser.h"
#include "client/options.h"

// Options that several commands have.
namespace longwave::cli {

inline constexpr int64_t kMaxUint32 = std::numeric_limits<uint32_t>::max();

// A setter that stores what `parse` makes of the value.
template <typename Target, typename Parse>
OptionParser::Setter Into(Target* target, Parse parse) {
  return [target, parse](absl::string_view value) {
    auto parsed = parse(value);
    if (parsed.ok()) *target = *std::move(parsed);
    return parsed.status();
  };
}

absl::StatusOr<absl::Duration> ParseSeconds(absl::string_view value);

void AddServer(OptionParser& parser, std::string* server, AccessArguments* access);
void AddModel(OptionParser& parser, client::EncodeOptions* options);
void AddPooling(OptionParser& parser, client::EncodeOptions* options);
// What else decides cost and shape of the result.
void AddVectorShape(OptionParser& parser, client::EncodeOptions* options);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_OPTION_VALUES_H_
