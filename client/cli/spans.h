#ifndef LONGWAVE_CLIENT_CLI_SPANS_H_
#define LONGWAVE_CLIENT_CLI_SPANS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/options.h"

namespace longwave::cli {

// "0:128,128:256", or the path of a file with such ranges, separated by commas or white space.
// Ranges are half-open, in tokens, at least one.
absl::StatusOr<std::vector<client::TokenSpan>> LoadSpans(const std::string& specification);

// The same ranges for each of `documents` sequences.
std::vector<client::TokenSpan> RepeatSpans(const std::vector<client::TokenSpan>& spans,
                                           size_t documents);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_SPANS_H_
