#include "client/cli/documents.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/unit/client/cli/broken_input.h"
#include "tests/unit/client/cli/temp_folder.h"

namespace longwave::cli {
namespace {

class DocumentReaderTest : public testing::Test {
 protected:
  std::string File(const std::string& name, const std::string& content) {
    const std::string path = folder_ / name;
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }

  std::vector<Document> ReadAll(std::vector<std::string> inputs,
                                InputFormat format = InputFormat::kAuto,
                                const std::string& standard_input = "") {
    std::istringstream in(standard_input);
    return ReadAllFrom(in, inputs, format);
  }

  std::vector<Document> ReadAllFrom(std::istream& in, std::vector<std::string> inputs,
                                    InputFormat format) {
    const auto tokenizer = MakeTokenizer("byte").value();
    DocumentReader reader(inputs, {.format = format}, tokenizer.get(), in);
    std::vector<Document> documents;
    while (auto document = reader.Next()) documents.push_back(*std::move(document));
    return documents;
  }

  TempFolder folder_;
};

std::string Text(const Document& document) {
  return std::string(document.ids.begin(), document.ids.end());
}

TEST_F(DocumentReaderTest, AFileIsADocument) {
  const std::string a = File("a.txt", "one\ntwo\n");
  const std::string b = File("b.txt", std::string("\0\xFF", 2));
  const auto documents = ReadAll({a, b});
  ASSERT_EQ(documents.size(), 2);
  EXPECT_EQ(documents[0].name, a);
  EXPECT_EQ(Text(documents[0]), "one\ntwo\n");
  EXPECT_EQ(documents[1].ids, (std::vector<uint32_t>{0, 255}));
}

TEST_F(DocumentReaderTest, ALineIsADocumentWhenAskedFor) {
  const auto documents = ReadAll({"-"}, InputFormat::kLines, "one\r\n\n  \ntwo");
  ASSERT_EQ(documents.size(), 2);
  EXPECT_EQ(documents[0].name, "-:1");
  EXPECT_EQ(Text(documents[0]), "one");
  EXPECT_EQ(documents[1].name, "-:4");
  EXPECT_EQ(Text(documents[1]), "two");
}

TEST_F(DocumentReaderTest, JsonLinesHoldTextOrIds) {
  const std::string path = File("x.jsonl",
                                "{\"id\": \"first\", \"text\": \"h\\u00e9\"}\n"
                                "{\"id\": 7, \"token_ids\": [1, 300, 4294967295]}\n"
                                "{\"text\": \"no id\"}\n");
  const auto documents = ReadAll({path});
  ASSERT_EQ(documents.size(), 3);
  EXPECT_EQ(documents[0].name, "first");
  EXPECT_EQ(Text(documents[0]), "h\xC3\xA9");
  EXPECT_EQ(documents[1].name, "7");
  EXPECT_EQ(documents[1].ids, (std::vector<uint32_t>{1, 300, 4294967295u}));
  EXPECT_EQ(documents[2].name, path + ":3");
}

TEST_F(DocumentReaderTest, ABadJsonLineCostsNoOther) {
  const auto documents = ReadAll({"-"}, InputFormat::kJsonl,
                                 "{\"text\": \"good\"}\nnot json\n[1]\n{\"text\": 3}\n"
                                 "{\"text\": \"x\", \"token_ids\": [1]}\n"
                                 "{\"token_ids\": [-1]}\n{\"token_ids\": [4294967296]}\n"
                                 "{\"token_ids\": [1.5]}\n{\"text\": \"good too\"}\n");
  ASSERT_EQ(documents.size(), 9);
  EXPECT_TRUE(documents[0].status.ok());
  for (size_t i = 1; i < 8; ++i) {
    EXPECT_TRUE(absl::IsInvalidArgument(documents[i].status)) << i;
    EXPECT_TRUE(documents[i].ids.empty()) << i;
  }
  EXPECT_EQ(Text(documents[8]), "good too");
}

TEST_F(DocumentReaderTest, ReadsIds) {
  const std::string path = File("x.ids", "1 2,3\n\n4\t5\n6 x\n");
  const auto documents = ReadAll({path});
  ASSERT_EQ(documents.size(), 3);
  EXPECT_EQ(documents[0].ids, (std::vector<uint32_t>{1, 2, 3}));
  EXPECT_EQ(documents[1].ids, (std::vector<uint32_t>{4, 5}));
  EXPECT_EQ(documents[2].status.message(), "\"x\" is not a token id");
}

TEST_F(DocumentReaderTest, WhatCannotBeReadCostsNoOther) {
  const std::string good = File("good.txt", "good");
  const auto documents = ReadAll({folder_ / "missing.txt", good});
  ASSERT_EQ(documents.size(), 2);
  EXPECT_TRUE(absl::IsNotFound(documents[0].status));
  EXPECT_NE(documents[0].status.message().find("missing.txt"), std::string::npos);
  EXPECT_EQ(Text(documents[1]), "good");
}

TEST_F(DocumentReaderTest, FormatsAreToldByNameInADirectoryToo) {
  File("b.fasta", ">s\nAC\nGT\n");
  File("a.jsonl", "{\"id\": \"j\", \"text\": \"t\"}\n");
  File("c.ids", "1 2\n");
  File(".hidden", "not read");
  const auto documents = ReadAll({folder_.path()});
  ASSERT_EQ(documents.size(), 3);
  EXPECT_EQ(documents[0].name, "j");
  EXPECT_EQ(documents[1].name, "s");
  EXPECT_EQ(Text(documents[1]), "ACGT");
  EXPECT_EQ(documents[2].ids, (std::vector<uint32_t>{1, 2}));
}

TEST_F(DocumentReaderTest, AnEmptyFileIsAnEmptyDocument) {
  const auto documents = ReadAll({File("empty.txt", "")});
  ASSERT_EQ(documents.size(), 1);
  EXPECT_TRUE(documents[0].status.ok());
  EXPECT_TRUE(documents[0].ids.empty());
}

// A disk that fails in the middle must not look like the end of the input.
TEST_F(DocumentReaderTest, WhatCannotBeReadToItsEndIsNoDocument) {
  const std::string npy_header = std::string("\x93NUMPY\1\0\x38\0", 10) +
                                 "{'descr': '|u1', 'fortran_order': False, 'shape': (9,)}\n";
  const struct {
    InputFormat format;
    std::string bytes;
    size_t good;
  } rows[] = {{InputFormat::kText, "half a text", 0},
              {InputFormat::kText, "", 0},
              {InputFormat::kLines, "one\ntwo\nthr", 2},
              {InputFormat::kLines, "", 0},
              {InputFormat::kIds, "1 2\n3 4", 1},
              {InputFormat::kJsonl, "{\"text\": \"a\"}\n{\"text\"", 1},
              {InputFormat::kFasta, ">a\nAC\n>b\nAC\n", 1},
              {InputFormat::kFasta, "", 0},
              {InputFormat::kNpy, "", 0},
              {InputFormat::kNpy, npy_header + "1234", 0},
              {InputFormat::kNpy, npy_header + "123456789", 1}};
  for (const auto& [format, bytes, good] : rows) {
    BrokenInput buffer(bytes);
    std::istream in(&buffer);
    const auto documents = ReadAllFrom(in, {"-"}, format);
    ASSERT_EQ(documents.size(), good + 1) << bytes;
    for (size_t i = 0; i < good; ++i) EXPECT_TRUE(documents[i].status.ok()) << bytes;
    EXPECT_TRUE(absl::IsNotFound(documents[good].status)) << documents[good].status;
    EXPECT_EQ(documents[good].status.message(), "cannot read -: Input/output error");
    EXPECT_TRUE(documents[good].ids.empty());
  }
}

TEST_F(DocumentReaderTest, WhatIsCompressedIsRefusedWithThatWord) {
  const std::pair<const char*, std::string> fronts[] = {
      {"gzip", std::string("\x1f\x8b\x08\0\0\0\0", 7)},
      {"bzip2", "BZh91AY&SY\x01"},
      {"xz", std::string("\xfd"
                         "7zXZ\0\0",
                         7)},
      {"zstd", std::string("\x28\xb5\x2f\xfd\x24", 5)}};
  for (const auto& [how, front] : fronts) {
    const std::string path = File(std::string("g.fa.") + how, front + "\n>a\nAC\n");
    for (const InputFormat format : {InputFormat::kAuto, InputFormat::kLines, InputFormat::kIds,
                                     InputFormat::kJsonl, InputFormat::kFasta}) {
      const auto documents = ReadAll({path}, format);
      ASSERT_EQ(documents.size(), 1) << how;
      EXPECT_EQ(documents[0].status.message(),
                path + ": the input is compressed (" + how + "); decompress it first");
    }
    const auto piped = ReadAll({"-"}, InputFormat::kLines, front);
    ASSERT_EQ(piped.size(), 1);
    EXPECT_TRUE(absl::IsInvalidArgument(piped[0].status)) << how;
  }
  EXPECT_TRUE(ReadAll({File("text", "BZh9 is how it begins")})[0].status.ok());
}

TEST_F(DocumentReaderTest, WhatWasLookedAtIsReadAllTheSame) {
  const std::string text(200'000, 't');
  for (const size_t size : {size_t{1}, size_t{9}, size_t{10}, size_t{11}, text.size()}) {
    const auto documents = ReadAll({"-"}, InputFormat::kText, text.substr(0, size));
    ASSERT_EQ(documents.size(), 1);
    EXPECT_EQ(documents[0].ids.size(), size);
  }
}

TEST_F(DocumentReaderTest, NamesInCapitalsTellTheFormatToo) {
  EXPECT_EQ(FormatOfPath("/x/G.FASTA"), InputFormat::kFasta);
  EXPECT_EQ(FormatOfPath("x.Npy"), InputFormat::kNpy);
  EXPECT_EQ(FormatOfPath("FASTA"), InputFormat::kText);
}

}  // namespace
}  // namespace longwave::cli
