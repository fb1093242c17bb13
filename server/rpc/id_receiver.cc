#include "server/rpc/id_receiver.h"

#include <algorithm>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "model/base/error.h"
#include "server/admission/validator.h"

namespace longwave {

IdReceiver::IdReceiver(int width, int64_t vocab_size, std::vector<WantedIds> sequences)
    : width_(width), vocab_size_(vocab_size), sequences_(std::move(sequences)) {
  for (const WantedIds& sequence : sequences_) total_bytes_ += sequence.total * width_;
  ids_.resize(sequences_.size());
}

absl::Status IdReceiver::Add(uint64_t offset, absl::string_view bytes) {
  if (offset != static_cast<uint64_t>(received_bytes_)) {
    return MakeError({.reason = ErrorReason::kProtocolViolation,
                      .field = "data.offset",
                      .value = absl::StrCat(offset),
                      .limit = absl::StrCat(received_bytes_)},
                     "ids must arrive in order, without gaps");
  }
  const auto size = static_cast<int64_t>(bytes.size());
  if (size > total_bytes_ - received_bytes_) {
    return MakeError({.reason = ErrorReason::kLengthsMismatch,
                      .field = "data.ids",
                      .value = absl::StrCat(received_bytes_ + size, " bytes"),
                      .limit = absl::StrCat(total_bytes_, " bytes")},
                     "more ids than tokens.lengths declared");
  }
  received_bytes_ += size;
  std::string joined;
  if (!cut_id_.empty()) {
    joined = absl::StrCat(cut_id_, bytes);
    bytes = joined;
  }
  const size_t whole = bytes.size() / width_ * width_;
  cut_id_ = std::string(bytes.substr(whole));
  absl::StatusOr<std::vector<int32_t>> ids =
      DecodeIds(bytes.substr(0, whole), width_, vocab_size_, decoded_);
  if (!ids.ok()) return ids.status();
  Append(*ids);
  return absl::OkStatus();
}

void IdReceiver::Append(const std::vector<int32_t>& ids) {
  decoded_ += static_cast<int64_t>(ids.size());
  for (size_t next = 0; next < ids.size();) {
    const WantedIds& wanted = sequences_[sequence_];
    const int64_t piece =
        std::min<int64_t>(static_cast<int64_t>(ids.size() - next), wanted.total - position_);
    const int64_t first = std::clamp(wanted.skip - position_, int64_t{0}, piece);
    const int64_t last = std::clamp(wanted.skip + wanted.keep - position_, int64_t{0}, piece);
    std::vector<int32_t>& kept = ids_[sequence_];
    // One allocation: memory that ids have not reached yet is not touched.
    if (kept.empty()) kept.reserve(static_cast<size_t>(wanted.keep));
    if (first < last) {
      const auto begin = ids.begin() + static_cast<int64_t>(next);
      kept.insert(kept.end(), begin + first, begin + last);
    }
    next += static_cast<size_t>(piece);
    position_ += piece;
    if (position_ == wanted.total) {
      ++sequence_;
      position_ = 0;
    }
  }
}

absl::Status IdReceiver::Finish() const {
  if (received_bytes_ == total_bytes_) return absl::OkStatus();
  return MakeError({.reason = ErrorReason::kLengthsMismatch,
                    .field = "data.ids",
                    .value = absl::StrCat(received_bytes_, " bytes"),
                    .limit = absl::StrCat(total_bytes_, " bytes")},
                   "the request ended before all of its ids had come");
}

}  // namespace longwave
