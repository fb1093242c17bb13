// make_tiny_tokenizer PREFIX: writes PREFIX.model, a SentencePiece model of a few hundred pieces,
// and PREFIX.ids, its ids for kTokenizerSample.
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "tests/unit/client/cli/tokenizer_sample.h"

namespace {

// Sentences enough to learn from: every number up to a thousand between a few words.
std::string Corpus() {
  std::string text;
  for (int i = 0; i < 1000; ++i) {
    text += "sequence " + std::to_string(i) + " of " + std::to_string(i * 7 % 1000) +
            " tokens goes through " + std::to_string(i % 13) + " layers of attention\n";
  }
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const std::string prefix = argv[1];
  std::ofstream(prefix + ".txt") << Corpus();
  const auto trained = sentencepiece::SentencePieceTrainer::Train(
      "--input=" + prefix + ".txt --model_prefix=" + prefix +
      " --vocab_size=100 --model_type=bpe --normalization_rule_name=identity --minloglevel=2");
  sentencepiece::SentencePieceProcessor processor;
  const auto loaded = trained.ok() ? processor.Load(prefix + ".model") : trained;
  std::vector<int> ids;
  const auto encoded = loaded.ok() ? processor.Encode(kTokenizerSample, &ids) : loaded;
  if (!encoded.ok()) {
    std::cerr << encoded.ToString() << "\n";
    return 1;
  }
  std::ofstream file(prefix + ".ids");
  for (const int id : ids) file << id << " ";
  return file.flush() ? 0 : 1;
}
