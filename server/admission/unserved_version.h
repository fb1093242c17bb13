#ifndef LONGWAVE_SERVER_ADMISSION_UNSERVED_VERSION_H_
#define LONGWAVE_SERVER_ADMISSION_UNSERVED_VERSION_H_

#include <string>

namespace longwave {

// A version of the model that is named to whoever asks, though it serves nothing.
struct UnservedVersion {
  std::string version;  // empty: a plain model folder, whose version is not known yet
  bool failed = false;  // else it is being loaded
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_ADMISSION_UNSERVED_VERSION_H_
