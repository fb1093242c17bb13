#include "client/load/reply_check.h"

#include <algorithm>

namespace longwave::load {

bool ReplyCheck::Take(const std::string& model_identity, uint32_t tokens, uint16_t document,
                      uint64_t content) {
  const auto found = std::find(models_.begin(), models_.end(), model_identity);
  const size_t model = found - models_.begin();
  if (found == models_.end()) {
    models_.push_back(model_identity);
    contents_.emplace_back();
  }
  const uint64_t key = (uint64_t{tokens} << 16) | document;
  const auto [entry, first] = contents_[model].emplace(key, content);
  return first || entry->second == content;
}

}  // namespace longwave::load
