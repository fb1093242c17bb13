#ifndef LONGWAVE_CLIENT_LOAD_LENGTH_MIX_H_
#define LONGWAVE_CLIENT_LOAD_LENGTH_MIX_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/load/random.h"

namespace longwave::load {

// How many tokens a call has. As text:
//   512                  always so many
//   128:8+4096:1         so many, with these weights
//   bimodal:128:8192     95 % short, 5 % long
//   lognormal:512:1      median and sigma of the logarithm, cut to [1, 2^20]
//   lognormal:512:1:8192 the same, cut to [1, 8192]
//   uniform:1:5000       every length as likely
class LengthMix {
 public:
  // INVALID_ARGUMENT names the forms.
  static absl::StatusOr<LengthMix> Parse(absl::string_view text);

  uint32_t Draw(Random& random) const;
  // The longest that Draw can give.
  uint32_t longest() const;
  const std::string& text() const { return text_; }

 private:
  enum class Kind { kWeights, kLogNormal, kUniform };
  struct Weighted {
    uint32_t tokens = 0;
    double up_to = 0;  // sum of the weights so far, the last one 1
  };

  absl::Status SetWeights(absl::string_view list);

  std::string text_;
  Kind kind_ = Kind::kWeights;
  std::vector<Weighted> weights_;
  double median_ = 0;
  double sigma_ = 0;
  uint32_t shortest_ = 1;
  uint32_t longest_ = 1;
};

}  // namespace longwave::load

#endif  // LONGWAVE_CLIENT_LOAD_LENGTH_MIX_H_
