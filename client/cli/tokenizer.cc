#include "client/cli/tokenizer.h"

#include <dlfcn.h>

#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/sentencepiece_plugin.h"

namespace longwave::cli {
namespace {

// Token positions are 32 bits wide everywhere, and so are places in a text.
absl::Status CheckSize(const std::string& text) {
  constexpr size_t kMost = std::numeric_limits<uint32_t>::max();
  if (text.size() <= kMost) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the text has ", text.size(), " bytes, limit ", kMost));
}

class ByteTokenizer final : public Tokenizer {
 public:
  std::string kind() const override { return "byte"; }
  absl::StatusOr<TokenizedText> Tokenize(const std::string& text, bool with_begins) const override {
    if (absl::Status fits = CheckSize(text); !fits.ok()) return fits;
    TokenizedText tokens;
    tokens.ids.reserve(text.size());
    for (const char c : text) tokens.ids.push_back(static_cast<uint8_t>(c));
    if (with_begins) {
      tokens.begins.resize(text.size());
      std::iota(tokens.begins.begin(), tokens.begins.end(), 0u);
    }
    return tokens;
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
  absl::StatusOr<TokenizedText> Tokenize(const std::string& text, bool with_begins) const override {
    if (absl::Status fits = CheckSize(text); !fits.ok()) return fits;
    TokenizedText tokens;
    const char* problem = nullptr;
    if (with_begins) {
      const auto add = [](void* out, unsigned id, unsigned begin) {
        static_cast<TokenizedText*>(out)->ids.push_back(id);
        static_cast<TokenizedText*>(out)->begins.push_back(begin);
      };
      problem = api_->encode_with_begins(model_, text.data(), text.size(), add, &tokens);
    } else {
      const auto add = [](void* out, unsigned id) {
        static_cast<TokenizedText*>(out)->ids.push_back(id);
      };
      problem = api_->encode(model_, text.data(), text.size(), add, &tokens);
    }
    if (problem != nullptr) return absl::InvalidArgumentError(problem);
    return tokens;
  }

 private:
  const SentencePieceApi* const api_;
  void* const model_;
};

}  // namespace

absl::StatusOr<std::vector<uint32_t>> Tokenizer::Encode(const std::string& text) const {
  auto tokens = Tokenize(text, /*with_begins=*/false);
  if (!tokens.ok()) return tokens.status();
  return std::move(tokens->ids);
}

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
