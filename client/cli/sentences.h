#ifndef LONGWAVE_CLIENT_CLI_SENTENCES_H_
#define LONGWAVE_CLIENT_CLI_SENTENCES_H_

#include <vector>

#include "absl/strings/string_view.h"
#include "client/cli/text_range.h"

namespace longwave::cli {

// The sentences of one paragraph of a UTF-8 text, behind `sentences`; together they are all of it
// but white space. By rule, not by a model:
//
//   - behind . ! ? or … and closing quotes and brackets, where white space follows and then
//     anything but a lower-case letter of ASCII;
//   - not behind a full stop that follows a single letter (J. S. Bach) or a common English
//     abbreviation;
//   - behind the stops of scripts that put no space there.
void AppendSentences(absl::string_view text, TextRange paragraph,
                     std::vector<TextRange>* sentences);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_SENTENCES_H_
