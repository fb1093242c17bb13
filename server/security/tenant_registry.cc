#include "server/security/tenant_registry.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/observability/safe_text.h"

namespace longwave {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxNameBytes = 63;
constexpr size_t kMaxTenants = 10'000;
// The file needs three levels.
constexpr int kMaxDepth = 8;
constexpr size_t kMaxProblems = 50;
// Of a share: so that products of shares and seconds keep their digits.
constexpr double kLeastShare = 1e-3;
constexpr double kLargestShare = 1e6;
constexpr double kLargestBurst = 24 * 3600;

bool IsName(const std::string& text) {
  const auto ordinary = [](char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '.' || c == '_' || c == '-';
  };
  return !text.empty() && text.size() <= kMaxNameBytes && text[0] != '.' && text[0] != '-' &&
         std::all_of(text.begin(), text.end(), ordinary);
}

bool ParseDigest(const std::string& text, Sha256Digest& digest) {
  const auto value = [](char c) {
    if (absl::ascii_isdigit(c)) return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  if (text.size() != 2 * digest.size()) return false;
  for (size_t i = 0; i < digest.size(); ++i) {
    const int high = value(text[2 * i]);
    const int low = value(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    digest[i] = static_cast<unsigned char>(high * 16 + low);
  }
  return true;
}

// JSON whose objects do not say one thing twice. Null and a problem if it is not.
Json ParseStrict(absl::string_view text, std::string& problem) {
  std::vector<std::set<std::string>> open;
  const auto check = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end) open.pop_back();
    if (event == Json::parse_event_t::key &&
        !open.back().insert(parsed.get<std::string>()).second) {
      problem = absl::StrCat("the key '", SafeText(parsed.get<std::string>()), "' appears twice");
    }
    if (depth > kMaxDepth) problem = "nested too deep";
    return true;
  };
  Json json = Json::parse(text.begin(), text.end(), check, /*allow_exceptions=*/false);
  if (json.is_discarded()) problem = "not valid JSON";
  return problem.empty() ? json : Json();
}

}  // namespace

// Builds a registry from the file's text and collects what is wrong with it.
class TenantFileReader {
 public:
  absl::StatusOr<std::shared_ptr<const TenantRegistry>> Read(absl::string_view text) {
    std::string problem;
    const Json json = ParseStrict(text, problem);
    if (!problem.empty()) return absl::InvalidArgumentError(problem);
    if (!json.is_object() || !json.contains("tenants") || !json["tenants"].is_array()) {
      return absl::InvalidArgumentError("must be an object with a list 'tenants'");
    }
    CheckKeys(json, {"tenants"}, "");
    const Json& list = json["tenants"];
    if (list.empty() || list.size() > kMaxTenants) {
      Add("tenants",
          absl::StrCat("has ", list.size(), " entries, accepted are 1 to ", kMaxTenants));
    }
    for (size_t i = 0; i < list.size() && problems_.size() < kMaxProblems; ++i) {
      ReadTenant(list[i], absl::StrCat("tenants[", i, "]"));
    }
    if (!problems_.empty()) return absl::InvalidArgumentError(absl::StrJoin(problems_, "\n"));
    return registry_;
  }

 private:
  void Add(absl::string_view path, absl::string_view what) {
    problems_.push_back(absl::StrCat(path, ": ", what));
  }

  void CheckKeys(const Json& object, const std::vector<std::string>& known,
                 const std::string& path) {
    for (const auto& item : object.items()) {
      if (std::find(known.begin(), known.end(), item.key()) != known.end()) continue;
      Add(absl::StrCat(path, path.empty() ? "" : ".", SafeText(item.key())),
          absl::StrCat("unknown; known are ", absl::StrJoin(known, ", ")));
    }
  }

  double Number(const Json& object, const std::string& path, const char* name, double least,
                double most, double otherwise) {
    if (!object.contains(name)) return otherwise;
    const Json& value = object[name];
    const double number = value.is_number() ? value.get<double>() : std::nan("");
    if (number >= least && number <= most) return number;
    Add(absl::StrCat(path, ".", name), absl::StrCat("accepted are ", least, " to ", most));
    return otherwise;
  }

  void ReadTenant(const Json& json, const std::string& path) {
    if (!json.is_object()) return Add(path, "is not an object");
    CheckKeys(json, {"name", "key_sha256", "share", "max_compute_share", "burst_seconds"}, path);
    auto tenant = std::make_shared<Tenant>();
    if (json.contains("name") && json["name"].is_string()) tenant->name = json["name"];
    if (!IsName(tenant->name)) {
      Add(absl::StrCat(path, ".name"), "accepted are 1 to 63 characters of a-z 0-9 . _ -");
    } else if (!names_.insert(tenant->name).second) {
      Add(absl::StrCat(path, ".name"), absl::StrCat("'", tenant->name, "' appears twice"));
    }
    tenant->share = Number(json, path, "share", kLeastShare, kLargestShare, tenant->share);
    tenant->max_compute_share = Number(json, path, "max_compute_share", kLeastShare, kLargestShare,
                                       tenant->max_compute_share);
    tenant->burst_seconds =
        Number(json, path, "burst_seconds", 0, kLargestBurst, tenant->burst_seconds);
    ReadKeys(json, path);
    registry_->tenants_.push_back(std::move(tenant));
  }

  // A tenant with an empty list is known and locked out.
  void ReadKeys(const Json& json, const std::string& path) {
    const std::string keys_path = absl::StrCat(path, ".key_sha256");
    if (!json.contains("key_sha256") || !json["key_sha256"].is_array()) {
      return Add(keys_path, "must be a list of SHA-256 digests");
    }
    const Json& list = json["key_sha256"];
    for (size_t i = 0; i < list.size(); ++i) {
      Sha256Digest digest;
      // What is wrong is not repeated: it may be the key itself.
      if (!list[i].is_string() || !ParseDigest(list[i], digest)) {
        Add(absl::StrCat(keys_path, "[", i, "]"), "accepted are 64 digits 0-9 a-f");
      } else if (digest == kEmptyKey_) {
        Add(absl::StrCat(keys_path, "[", i, "]"), "is the digest of the empty key");
      } else if (!digests_.insert(digest).second) {
        Add(absl::StrCat(keys_path, "[", i, "]"), "appears twice");
      } else {
        registry_->digests_.Add(digest);
        registry_->owner_.push_back(registry_->tenants_.size());
      }
    }
  }

  const Sha256Digest kEmptyKey_ = Sha256Of("");
  std::vector<std::string> problems_;
  std::set<std::string> names_;
  std::set<Sha256Digest> digests_;
  const std::shared_ptr<TenantRegistry> registry_ = std::make_shared<TenantRegistry>();
};

absl::StatusOr<std::shared_ptr<const TenantRegistry>> TenantRegistry::Parse(
    absl::string_view json) {
  return TenantFileReader().Read(json);
}

std::shared_ptr<const Tenant> TenantRegistry::Find(absl::string_view key) const {
  const int64_t found = digests_.Find(Sha256Of(key));
  return found < 0 ? nullptr : tenants_[owner_[static_cast<size_t>(found)]];
}

}  // namespace longwave
