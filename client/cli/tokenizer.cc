#include "client/cli/tokenizer.h"

#include <dlfcn.h>

#include "absl/strings/str_cat.h"
#include "client/cli/sentencepiece_plugin.h"

namespace longwave::cli {
namespace {

class ByteTokenizer final : public Tokenizer {
 public:
  std::string kind() const override { return "byte"; }
  absl::StatusOr<std::vector<uint32_t>> Encode(const std::string& text) const override {
    std::vector<uint32_t> ids;
    ids.reserve(text.size());
    for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
    return ids;
  }
};

// Debian's libsentencepiece exports its own, older protobuf, and a process in which both are in one
// scope ends in a version check. RTLD_DEEPBIND gives the plug-in a scope of its own.
absl::StatusOr<const SentencePieceApi*> LoadPlugin() {
#if defined(__SANITIZE_ADDRESS__)
  return absl::UnimplementedError("SentencePiece cannot be loaded beside AddressSanitizer");
#else
  void* library = dlopen("liblongwave_sentencepiece.so", RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  if (library == nullptr) return absl::NotFoundError(dlerror());
  using GetApi = const SentencePieceApi* (*)();
  const auto get_api = reinterpret_cast<GetApi>(dlsym(library, "LongwaveSentencePieceApi"));
  if (get_api == nullptr) return absl::NotFoundError(dlerror());
  return get_api();
#endif
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(const SentencePieceApi* api, void* model) : api_(api), model_(model) {}
  ~SentencePieceTokenizer() override { api_->unload(model_); }

  std::string kind() const override { return "sentencepiece"; }
  absl::StatusOr<std::vector<uint32_t>> Encode(const std::string& text) const override {
    std::vector<uint32_t> ids;
    const char* problem = api_->encode(
        model_, text.data(), text.size(),
        [](void* out, unsigned id) { static_cast<std::vector<uint32_t>*>(out)->push_back(id); },
        &ids);
    if (problem != nullptr) return absl::InvalidArgumentError(problem);
    return ids;
  }

 private:
  const SentencePieceApi* const api_;
  void* const model_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(const std::string& name) {
  if (name == "byte") return std::make_unique<ByteTokenizer>();
  const absl::StatusOr<const SentencePieceApi*> api = LoadPlugin();
  if (!api.ok()) return api.status();
  void* const model = (*api)->load(name.c_str());
  if (model == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer ", name, " is neither `byte` nor a readable SentencePiece model"));
  }
  return std::make_unique<SentencePieceTokenizer>(*api, model);
}

}  // namespace longwave::cli
