#ifndef LONGWAVE_CLIENT_CLI_SENTENCEPIECE_PLUGIN_H_
#define LONGWAVE_CLIENT_CLI_SENTENCEPIECE_PLUGIN_H_

#include <cstddef>

// The door between the program and SentencePiece, in plain C so that nothing of either side's
// libraries crosses it. A library by itself: see tokenizer.cc.
extern "C" {

struct SentencePieceApi {
  // Null: not a model.
  void* (*load)(const char* path);
  void (*unload)(void* model);
  // Calls add(out, id) for each id. Null, or what went wrong (valid until the next call).
  const char* (*encode)(void* model, const char* text, size_t size,
                        void (*add)(void* out, unsigned id), void* out);
  // The same with the byte at which each token's text begins; slower.
  const char* (*encode_with_begins)(void* model, const char* text, size_t size,
                                    void (*add)(void* out, unsigned id, unsigned begin), void* out);
};

const SentencePieceApi* LongwaveSentencePieceApi();

}  // extern "C"

#endif  // LONGWAVE_CLIENT_CLI_SENTENCEPIECE_PLUGIN_H_
