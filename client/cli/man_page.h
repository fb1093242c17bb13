#ifndef LONGWAVE_CLIENT_CLI_MAN_PAGE_H_
#define LONGWAVE_CLIENT_CLI_MAN_PAGE_H_

#include <string>

namespace longwave::cli {

// longwave(1) in man(7), from the command table.
std::string ManPage();

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_MAN_PAGE_H_
