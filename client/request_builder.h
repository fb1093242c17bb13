#ifndef LONGWAVE_CLIENT_REQUEST_BUILDER_H_
#define LONGWAVE_CLIENT_REQUEST_BUILDER_H_

#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "client/options.h"
#include "longwave/v1/encode.pb.h"

namespace longwave::client {

// Ids of several sequences, one after the other, as they travel.
struct PackedIds {
  std::string bytes;  // little-endian
  v1::IdWidth width = v1::ID_WIDTH_U8;
};

// Packs with the fewest bytes an id that hold the largest one: text of a byte vocabulary travels
// one byte a token even though the vocabulary has special ids above 255.
PackedIds PackIds(absl::Span<const TokenSequence> sequences);

// Everything of a request but ids and width, for the sequences [first, first + lengths.size()) of a
// call; spans and row ranges of other sequences are left out and the rest is renumbered from 0.
v1::EncodeRequest MakeRequest(const EncodeOptions& options, absl::Span<const uint32_t> lengths,
                              uint32_t first);

// What the output part says, for shape-only calls.
v1::OutputSpec MakeOutputSpec(const EncodeOptions& options, uint32_t first, uint32_t count);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_REQUEST_BUILDER_H_
