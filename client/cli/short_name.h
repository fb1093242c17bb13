#ifndef LONGWAVE_CLIENT_CLI_SHORT_NAME_H_
#define LONGWAVE_CLIENT_CLI_SHORT_NAME_H_

#include <string>

namespace longwave::cli {

// At most `width` bytes of a name, its end, which says more of a path than its beginning. A UTF-8
// character is not cut. Precondition: width > 3.
inline std::string ShortName(const std::string& name, size_t width) {
  if (name.size() <= width) return name;
  size_t begin = name.size() - (width - 3);
  while (begin < name.size() && (name[begin] & 0xC0) == 0x80) ++begin;
  return "..." + name.substr(begin);
}

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_SHORT_NAME_H_
