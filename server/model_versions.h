#ifndef LONGWAVE_SERVER_MODEL_VERSIONS_H_
#define LONGWAVE_SERVER_MODEL_VERSIONS_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace longwave {

// One version of the model as it lies on disk.
struct ModelVersion {
  std::string name;   // its folder's number; empty: a plain model folder, which names itself
  std::string path;   // a model folder
  std::string stamp;  // another one whenever a file of the folder was written, replaced or removed
};

// Whether `path` is a folder of versions: no model itself, and with a sub-folder that is named by
// a whole number.
bool HasVersions(const std::string& path);
// The versions below `path`, the highest first; other folders are none of ours.
std::vector<ModelVersion> ListVersions(const std::string& path);
// A plain model folder as the only version, whether it is there or not.
ModelVersion PlainVersion(const std::string& path);

// What was tried so far.
struct VersionHistory {
  std::optional<ModelVersion> serving;
  std::map<std::string, std::string> failed;  // path -> the stamp with which it could not be served
};

// The version to load next; null: what serves is the best there is. The highest that did not fail
// as it lies there now; one that serves is read again when its files have changed. Nothing below
// the one that serves, unless its folder is gone: removing it is how to go back.
// `found` is sorted as ListVersions does.
const ModelVersion* NextVersion(absl::Span<const ModelVersion> found,
                                const VersionHistory& history);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_MODEL_VERSIONS_H_
