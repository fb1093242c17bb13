#include "client/cli/sentencepiece_plugin.h"

#include <sentencepiece_processor.h>

#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

using sentencepiece::SentencePieceProcessor;

// Exceptions must not cross the C door.
void* Load(const char* path) try {
  auto model = std::make_unique<SentencePieceProcessor>();
  return model->Load(path).ok() ? model.release() : nullptr;
} catch (const std::exception&) {
  return nullptr;
}

void Unload(void* model) { delete static_cast<SentencePieceProcessor*>(model); }

const char* Encode(void* model, const char* text, size_t size, void (*add)(void*, unsigned),
                   void* out) {
  static thread_local std::string problem;
  try {
    std::vector<int> ids;
    const auto status =
        static_cast<SentencePieceProcessor*>(model)->Encode(std::string_view(text, size), &ids);
    if (status.ok()) {
      for (const int id : ids) add(out, static_cast<unsigned>(id));
      return nullptr;
    }
    problem = status.ToString();
  } catch (const std::exception& error) {
    problem = error.what();
  }
  return problem.c_str();
}

const char* EncodeWithBegins(void* model, const char* text, size_t size,
                             void (*add)(void*, unsigned, unsigned), void* out) {
  static thread_local std::string problem;
  try {
    const auto tokens = static_cast<SentencePieceProcessor*>(model)->EncodeAsImmutableProto(
        std::string_view(text, size));
    for (const auto& piece : tokens.pieces()) add(out, piece.id(), piece.begin());
    return nullptr;
  } catch (const std::exception& error) {
    problem = error.what();
  }
  return problem.c_str();
}

constexpr SentencePieceApi kApi = {Load, Unload, Encode, EncodeWithBegins};

}  // namespace

const SentencePieceApi* LongwaveSentencePieceApi() { return &kApi; }
