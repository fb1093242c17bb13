#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <vector>

#include "longwave/v1/encode.pb.h"
#include "model/api/fake_encoder.h"
#include "server/admission/validator.h"
#include "server/rpc/id_receiver.h"
#include "server/rpc/message_io.h"
#include "server/rpc/request_decoder.h"

namespace longwave {
namespace {

int WidthOf(v1::IdWidth width) {
  return width == v1::ID_WIDTH_U32 ? 4 : width == v1::ID_WIDTH_U16 ? 2 : 1;
}

// One tag's way: its Open is checked, its ids are put together.
class Tag {
 public:
  explicit Tag(const Encoder* encoder) : encoder_(*encoder) {}

  void Open(const v1::StreamOpen& open) {
    const auto valid = ValidateStreamOpen(ToRequestData(open.request()), encoder_, {});
    if (!valid.ok()) return;
    wanted_.clear();
    int64_t total = 0;
    for (const ValidatedSequence& sequence : valid->sequences) {
      total += sequence.tokens_used;
      wanted_.push_back(
          {.total = sequence.tokens_in, .skip = sequence.first_kept, .keep = sequence.tokens_used});
    }
    if (total > 1 << 16) return;  // the receiver would rightly ask for much memory
    ids_.emplace(WidthOf(open.request().tokens().id_width()), encoder_.Info().vocab_size, wanted_);
  }

  void Data(const v1::StreamData& data) {
    if (ids_.has_value() && !ids_->Add(data.offset(), data.ids()).ok()) ids_.reset();
  }

  void End() {
    if (!ids_.has_value() || !ids_->Finish().ok()) return;
    const auto ids = ids_->Take();
    if (ids.size() != wanted_.size()) std::abort();
    for (size_t s = 0; s < ids.size(); ++s) {
      if (static_cast<int64_t>(ids[s].size()) != wanted_[s].keep) std::abort();
    }
    ids_.reset();
  }

 private:
  const Encoder& encoder_;
  std::vector<WantedIds> wanted_;
  std::optional<IdReceiver> ids_;
};

}  // namespace
}  // namespace longwave

// Messages of one stream, each behind its length in one byte.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const longwave::FakeEncoder encoder;
  longwave::Tag tag(&encoder);
  while (size > 0) {
    const size_t length = std::min<size_t>(data[0], size - 1);
    const grpc::Slice slice(data + 1, length);
    grpc::ByteBuffer buffer(&slice, 1);
    longwave::v1::EncodeStreamRequest message;
    if (longwave::ParseMessage(&buffer, &message).ok()) {
      if (message.has_open()) tag.Open(message.open());
      if (message.has_data()) tag.Data(message.data());
      if (message.has_end()) tag.End();
    }
    data += 1 + length;
    size -= 1 + length;
  }
  return 0;
}
