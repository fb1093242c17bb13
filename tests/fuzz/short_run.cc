// Runs a fuzzer's harness without libFuzzer: every file of its corpus, then mutations of them for
// some seconds: always the same ones in the same order, as many as the machine manages. For ctest,
// with any compiler and sanitizer; the search for new inputs is deploy/fuzz.sh's.
//
//   <harness> <corpus folder> <seconds>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kMaxBytes = 4096;
constexpr char kCrashFile[] = "crash-input";

// The input under way, for the handler of crashes.
const std::string* current = nullptr;

void WriteCrash(int number) {
  const int file = open(kCrashFile, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file >= 0 && current != nullptr) {
    // Nothing is left to do about a short write.
    const ssize_t written = write(file, current->data(), current->size());
    static_cast<void>(written);
  }
  signal(number, SIG_DFL);
  raise(number);
}

std::vector<std::string> ReadCorpus(const char* folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());  // the same order on every machine
  std::vector<std::string> corpus;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return corpus;
}

class Mutator {
 public:
  explicit Mutator(const std::vector<std::string>* corpus) : corpus_(*corpus) {}

  std::string Next() {
    std::string input = corpus_[Below(corpus_.size())];
    for (size_t i = 1 + Below(6); i > 0; --i) Change(input);
    if (input.size() > kMaxBytes) input.resize(kMaxBytes);
    return input;
  }

 private:
  size_t Below(size_t limit) { return random_() % limit; }

  void Change(std::string& input) {
    const size_t at = Below(input.size() + 1);
    switch (Below(6)) {
      case 0:
        if (at < input.size()) input[at] ^= static_cast<char>(1 << Below(8));
        break;
      case 1:
        if (at < input.size()) input[at] = Extreme();
        break;
      case 2:
        input.insert(at, 1 + Below(8), Extreme());
        break;
      case 3:
        input.erase(at, 1 + Below(16));
        break;
      case 4:
        input.insert(at, input.substr(Below(input.size() + 1), 1 + Below(64)));
        break;
      default: {
        const std::string& other = corpus_[Below(corpus_.size())];
        input = input.substr(0, at) + other.substr(Below(other.size() + 1));
      }
    }
  }

  char Extreme() {
    constexpr unsigned char kBytes[] = {0, 1, 0x7f, 0x80, 0xff, '{', '"', '['};
    return static_cast<char>(Below(2) == 0 ? kBytes[Below(std::size(kBytes))] : random_());
  }

  const std::vector<std::string>& corpus_;
  std::mt19937 random_{20240229};
};

void Run(const std::string& input) {
  current = &input;
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s <corpus folder> <seconds>\n", argv[0]);
    return 2;
  }
  for (const int number : {SIGABRT, SIGSEGV, SIGILL, SIGFPE}) signal(number, WriteCrash);
  const std::vector<std::string> corpus = ReadCorpus(argv[1]);
  if (corpus.empty()) {
    std::fprintf(stderr, "%s: no files\n", argv[1]);
    return 1;
  }
  for (const std::string& input : corpus) Run(input);
  Mutator mutator(&corpus);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(argv[2]));
  int64_t runs = 0;
  for (; std::chrono::steady_clock::now() < end; ++runs) Run(mutator.Next());
  std::printf("%zu files, %lld mutations\n", corpus.size(), static_cast<long long>(runs));
  return 0;
}
