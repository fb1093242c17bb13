#include "server/security/tls_store.h"

#include <utility>

namespace longwave {
namespace {

std::vector<std::string> Paths(const TlsFiles& files) {
  std::vector<std::string> paths = {files.certificate, files.key};
  if (!files.client_ca.empty()) paths.push_back(files.client_ca);
  return paths;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TlsStore>> TlsStore::Create(const TlsFiles& files, Logger* log,
                                                           WallClock now) {
  std::unique_ptr<TlsStore> store(new TlsStore(files, log, std::move(now)));
  if (absl::Status status = store->reloader_.Load(); !status.ok()) return status;
  return store;
}

TlsStore::TlsStore(const TlsFiles& files, Logger* log, WallClock now)
    : wants_client_certificates_(!files.client_ca.empty()),
      now_(std::move(now)),
      reloader_(
          "tls_reload", Paths(files),
          [this](const std::vector<std::string>& contents) { return Apply(contents); }, log) {}

absl::Status TlsStore::Apply(const std::vector<std::string>& contents) {
  const int64_t now =
      std::chrono::duration_cast<std::chrono::seconds>(now_().time_since_epoch()).count();
  if (wants_client_certificates_ && contents[2].empty()) {
    // Without this an emptied file would let everyone in.
    return absl::InvalidArgumentError("client CA: the file is empty");
  }
  auto material = CheckTlsMaterial(contents[0], contents[1],
                                   wants_client_certificates_ ? contents[2] : "", now);
  if (!material.ok()) return material.status();
  auto next = std::make_shared<const TlsMaterial>(*std::move(material));
  MutexLock lock(&mutex_);
  current_ = std::move(next);
  return absl::OkStatus();
}

std::shared_ptr<const TlsMaterial> TlsStore::Current() const {
  MutexLock lock(&mutex_);
  return current_;
}

}  // namespace longwave
