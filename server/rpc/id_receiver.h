#ifndef LONGWAVE_SERVER_RPC_ID_RECEIVER_H_
#define LONGWAVE_SERVER_RPC_ID_RECEIVER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace longwave {

// Which of a sequence's ids are wanted: [skip, skip + keep) of `total`.
struct WantedIds {
  int64_t total = 0;
  int64_t skip = 0;
  int64_t keep = 0;
};

// Puts the token ids of one stream request together from the pieces in which they arrive. Each
// piece is checked and widened on arrival, so that errors come early and nothing is held twice.
class IdReceiver {
 public:
  // `width`: bytes per id on the wire, 1, 2 or 4.
  IdReceiver(int width, int64_t vocab_size, std::vector<WantedIds> sequences);

  // PROTOCOL_VIOLATION if `offset` is not the number of bytes so far, LENGTHS_MISMATCH beyond the
  // declared total, or what DecodeIds says.
  absl::Status Add(uint64_t offset, absl::string_view bytes);
  // LENGTHS_MISMATCH if ids are missing.
  absl::Status Finish() const;
  // The wanted ids of each sequence. Precondition: Finish() was OK.
  std::vector<std::vector<int32_t>> Take() { return std::move(ids_); }

  int64_t received_bytes() const { return received_bytes_; }

 private:
  void Append(const std::vector<int32_t>& ids);

  const int width_;
  const int64_t vocab_size_;
  const std::vector<WantedIds> sequences_;
  int64_t total_bytes_ = 0;
  int64_t received_bytes_ = 0;
  std::string cut_id_;    // the first bytes of an id whose rest is in the next piece
  size_t sequence_ = 0;   // the one that the next id belongs to
  int64_t position_ = 0;  // of the next id in it
  int64_t decoded_ = 0;   // ids so far
  std::vector<std::vector<int32_t>> ids_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_ID_RECEIVER_H_
