#ifndef LONGWAVE_CLIENT_LOAD_REPLY_CHECK_H_
#define LONGWAVE_CLIENT_LOAD_REPLY_CHECK_H_

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace longwave::load {

// Whether a server gives the same bytes for the same ids every time. What is right is learned from
// the first reply: a mixed-up or damaged one differs from its fellows. Not thread-safe.
class ReplyCheck {
 public:
  // Takes note of a reply; false if it differs from an earlier one by the same model.
  bool Take(const std::string& model_identity, uint32_t tokens, uint16_t document,
            uint64_t content);
  // Everyone who computed replies, in the order of their first one.
  const std::vector<std::string>& models() const { return models_; }

 private:
  std::vector<std::string> models_;
  // Of each model: content by tokens and document.
  std::vector<std::unordered_map<uint64_t, uint64_t>> contents_;
};

}  // namespace longwave::load

#endif  // LONGWAVE_CLIENT_LOAD_REPLY_CHECK_H_
