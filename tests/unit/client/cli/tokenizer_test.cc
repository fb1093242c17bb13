#include "client/cli/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "longwave/v1/encode.pb.h"
#include "tests/unit/client/cli/tokenizer_sample.h"

namespace longwave::cli {
namespace {

TEST(ByteTokenizerTest, IdsAreTheBytes) {
  const auto tokenizer = MakeTokenizer("byte");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->kind(), "byte");
  EXPECT_EQ((*tokenizer)->Encode(std::string("A\0\xC3\xA9\xFF", 5)).value(),
            (std::vector<uint32_t>{65, 0, 0xC3, 0xA9, 0xFF}));
  EXPECT_TRUE((*tokenizer)->Encode("").value().empty());
  EXPECT_EQ((*tokenizer)->Tokenize("abc", true)->begins, (std::vector<uint32_t>{0, 1, 2}));
  EXPECT_TRUE((*tokenizer)->Tokenize("abc", false)->begins.empty());
}

#if !defined(__SANITIZE_ADDRESS__)  // which forbids the way the plug-in is loaded
std::string TinyModel() { return std::string(LONGWAVE_TINY_TOKENIZER) + ".model"; }

// The plug-in brings another version of protobuf than this process has: both must work.
TEST(SentencePieceTokenizerTest, GivesTheSameIdsBesideOurProtobuf) {
  v1::EncodeRequest request;
  request.set_model("both are in use");
  ASSERT_EQ(v1::EncodeRequest::default_instance().model(), "");
  const auto tokenizer = MakeTokenizer(TinyModel());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->kind(), "sentencepiece");
  std::vector<uint32_t> expected;
  std::ifstream file(std::string(LONGWAVE_TINY_TOKENIZER) + ".ids");
  for (uint32_t id = 0; file >> id;) expected.push_back(id);
  ASSERT_GT(expected.size(), 5);
  EXPECT_EQ((*tokenizer)->Encode(kTokenizerSample).value(), expected);
  EXPECT_TRUE((*tokenizer)->Encode("").value().empty());
  v1::EncodeRequest copy;
  EXPECT_TRUE(copy.ParseFromString(request.SerializeAsString()));
}

TEST(SentencePieceTokenizerTest, TellsWhereTokensBegin) {
  const auto tokenizer = MakeTokenizer(TinyModel()).value();
  const std::string text = kTokenizerSample;
  const auto tokens = tokenizer->Tokenize(text, /*with_begins=*/true);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->ids, tokenizer->Encode(text).value());
  ASSERT_EQ(tokens->begins.size(), tokens->ids.size());
  EXPECT_EQ(tokens->begins[0], 0);
  EXPECT_TRUE(std::is_sorted(tokens->begins.begin(), tokens->begins.end()));
  EXPECT_GT(tokens->begins.back(), text.size() / 2);
  EXPECT_LT(tokens->begins.back(), text.size());
}

TEST(SentencePieceTokenizerTest, RefusesWhatIsNoModel) {
  for (const std::string name : {"/nonexistent/x.model", LONGWAVE_TINY_TOKENIZER ".ids"}) {
    const auto tokenizer = MakeTokenizer(name);
    ASSERT_TRUE(absl::IsInvalidArgument(tokenizer.status())) << tokenizer.status();
    EXPECT_NE(tokenizer.status().message().find(name), std::string::npos);
  }
}
#endif

}  // namespace
}  // namespace longwave::cli
