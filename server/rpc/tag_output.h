#ifndef LONGWAVE_SERVER_RPC_TAG_OUTPUT_H_
#define LONGWAVE_SERVER_RPC_TAG_OUTPUT_H_

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "longwave/v1/encode.pb.h"
#include "model/api/encoder.h"
#include "server/admission/encode_request.h"

namespace longwave {

// Rows of one stream request between the encoder and the wire, in chunks, within a budget of
// bytes. Not thread-safe.
class TagOutput {
 public:
  struct Options {
    OutputType dtype = OutputType::kFp32;
    int64_t dim = 0;
    int64_t max_chunk_bytes = 0;  // scales included; at least one row
    int64_t budget_bytes = 0;
  };
  explicit TagOutput(const Options& options);

  // Packs rows behind those that wait, all or nothing. kRefused: they do not fit; then TakeReady
  // tells when to offer again. A block larger than the whole budget is taken when nothing waits.
  RowSink::Answer Offer(uint32_t sequence, int64_t first_row, RowBlock rows);
  // The same for a producer that cannot wait.
  void Take(uint32_t sequence, int64_t first_row, RowBlock rows);

  bool HasChunk() const { return !chunks_.empty(); }
  // The oldest chunk. Its bytes count as waiting until ChunkWritten. Precondition: HasChunk().
  v1::StreamChunk PopChunk();
  void ChunkWritten();
  // True once after a refusal: at most half of the budget waits and the refused block fits.
  bool TakeReady();
  // Drops what waits.
  void Clear();

  // The row after the last one popped.
  int64_t next_row() const { return next_row_; }

 private:
  struct Chunk {
    uint32_t sequence = 0;
    int64_t first_row = 0;
    int64_t rows = 0;
    std::string data;
    std::vector<float> scales;  // kInt8 only
  };

  bool Extends(const Chunk& chunk, uint32_t sequence, int64_t row) const;

  const Options options_;
  const int64_t row_bytes_;   // values
  const int64_t wire_bytes_;  // values and scale: what budgets count
  const int64_t max_chunk_rows_;
  std::deque<Chunk> chunks_;
  int64_t waiting_bytes_ = 0;  // in chunks_ and on the wire
  int64_t on_wire_bytes_ = 0;
  int64_t refused_bytes_ = 0;  // of the block refused last; 0: none
  int64_t next_row_ = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_TAG_OUTPUT_H_
