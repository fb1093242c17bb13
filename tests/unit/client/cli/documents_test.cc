#include "client/cli/documents.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

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
    const auto tokenizer = MakeTokenizer("byte").value();
    std::istringstream in(standard_input);
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

}  // namespace
}  // namespace longwave::cli
