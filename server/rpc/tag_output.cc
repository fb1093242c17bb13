#include "server/rpc/tag_output.h"

#include <algorithm>
#include <utility>

#include "server/rpc/crc32c.h"
#include "server/rpc/proto_convert.h"
#include "server/rpc/row_packer.h"

namespace longwave {

TagOutput::TagOutput(const Options& options)
    : options_(options),
      row_bytes_(PackedRowBytes(options.dtype, options.dim)),
      wire_bytes_(WireRowBytes(options.dtype, options.dim)),
      max_chunk_rows_(std::max<int64_t>(options.max_chunk_bytes / wire_bytes_, 1)) {}

RowSink::Answer TagOutput::Offer(uint32_t sequence, int64_t first_row, RowBlock rows) {
  const int64_t bytes = rows.rows * wire_bytes_;
  if (waiting_bytes_ > 0 && waiting_bytes_ + bytes > options_.budget_bytes) {
    refused_bytes_ = bytes;
    return RowSink::Answer::kRefused;
  }
  Take(sequence, first_row, rows);
  return RowSink::Answer::kTaken;
}

bool TagOutput::Extends(const Chunk& chunk, uint32_t sequence, int64_t row) const {
  return chunk.sequence == sequence && chunk.first_row + chunk.rows == row &&
         chunk.rows < max_chunk_rows_;
}

void TagOutput::Take(uint32_t sequence, int64_t first_row, RowBlock rows) {
  for (int64_t done = 0; done < rows.rows;) {
    // Small blocks fill up the youngest chunk while it waits.
    if (chunks_.empty() || !Extends(chunks_.back(), sequence, first_row + done)) {
      chunks_.push_back({.sequence = sequence, .first_row = first_row + done});
    }
    Chunk& chunk = chunks_.back();
    const int64_t count = std::min(rows.rows - done, max_chunk_rows_ - chunk.rows);
    const size_t old_size = chunk.data.size();
    chunk.data.resize(old_size + static_cast<size_t>(count * row_bytes_));
    for (int64_t r = 0; r < count; ++r) {
      const auto row = rows.values.subspan(static_cast<size_t>((done + r) * rows.dim), rows.dim);
      const float scale =
          PackRow(options_.dtype, row, chunk.data.data() + old_size + r * row_bytes_);
      if (options_.dtype == OutputType::kInt8) chunk.scales.push_back(scale);
    }
    chunk.rows += count;
    waiting_bytes_ += count * wire_bytes_;
    done += count;
  }
}

v1::StreamChunk TagOutput::PopChunk() {
  Chunk& chunk = chunks_.front();
  v1::StreamChunk message;
  message.set_sequence(chunk.sequence);
  message.set_first_row(static_cast<uint64_t>(chunk.first_row));
  message.set_crc32c(Crc32c(chunk.data));
  v1::EmbeddingBlock* block = message.mutable_embeddings();
  on_wire_bytes_ += chunk.rows * wire_bytes_;
  block->set_data(std::move(chunk.data));
  block->set_dtype(ToProtoDataType(options_.dtype));
  block->set_rows(static_cast<uint32_t>(chunk.rows));
  block->set_dim(static_cast<uint32_t>(options_.dim));
  block->mutable_scales()->Assign(chunk.scales.begin(), chunk.scales.end());
  next_row_ = chunk.first_row + chunk.rows;
  chunks_.pop_front();
  return message;
}

void TagOutput::ChunkWritten() {
  waiting_bytes_ -= on_wire_bytes_;
  on_wire_bytes_ = 0;
}

bool TagOutput::TakeReady() {
  if (refused_bytes_ == 0) return false;
  const bool roomy = waiting_bytes_ <= options_.budget_bytes / 2 &&
                     waiting_bytes_ + refused_bytes_ <= options_.budget_bytes;
  if (waiting_bytes_ > 0 && !roomy) return false;
  refused_bytes_ = 0;
  return true;
}

void TagOutput::Clear() {
  chunks_.clear();
  waiting_bytes_ = on_wire_bytes_;
}

}  // namespace longwave
