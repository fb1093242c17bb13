#include "client/cli/fasta_source.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

namespace longwave::cli {
namespace {

std::vector<Document> ReadAll(const std::string& text) {
  const auto tokenizer = MakeTokenizer("byte").value();
  const DocumentMaker maker(tokenizer.get(), {});
  std::istringstream in(text);
  FastaSource source("x.fa", in, maker);
  std::vector<Document> documents;
  while (auto document = source.Next()) documents.push_back(*std::move(document));
  return documents;
}

std::string Sequence(const Document& document) {
  return std::string(document.ids.begin(), document.ids.end());
}

TEST(FastaSourceTest, ARecordIsADocumentNamedByTheFirstWord) {
  const auto documents = ReadAll(">chr1 first of two\nACGT\nacgn\n\n>chr2\tx\r\nTT\r\n");
  ASSERT_EQ(documents.size(), 2);
  EXPECT_EQ(documents[0].name, "chr1");
  EXPECT_EQ(Sequence(documents[0]), "ACGTacgn");  // case means soft masking: it is kept
  EXPECT_EQ(documents[1].name, "chr2");
  EXPECT_EQ(Sequence(documents[1]), "TT");
}

TEST(FastaSourceTest, LeavesOutWhiteSpaceCommentsAndTheFinalStar) {
  const auto documents = ReadAll("; a comment\n>p\nMK V\n;another\n *L-.\n*\n>q\nM*");
  ASSERT_EQ(documents.size(), 2);
  EXPECT_EQ(Sequence(documents[0]), "MKV*L-.");
  EXPECT_EQ(Sequence(documents[1]), "M");
}

TEST(FastaSourceTest, AHeaderWithoutAnIdIsNamedByItsLine) {
  const auto documents = ReadAll(">\nA\n> described only\nC\n");
  ASSERT_EQ(documents.size(), 2);
  EXPECT_EQ(documents[0].name, "x.fa:1");
  EXPECT_EQ(documents[1].name, "x.fa:3");
}

TEST(FastaSourceTest, ABadRecordIsNamedWithItsLineAndCostsNoOther) {
  const auto documents = ReadAll("ACGT\n>a\nAC1T\nAC\n>empty\n>star\n*\n>b\nGG\n");
  ASSERT_EQ(documents.size(), 5);
  EXPECT_EQ(documents[0].status.message(),
            "x.fa:1: there is sequence before the first header (>id)");
  EXPECT_EQ(documents[1].name, "a");
  EXPECT_EQ(documents[1].status.message(),
            "x.fa:3: byte 0x31 is none of a sequence (letters, - . *)");
  EXPECT_TRUE(documents[1].ids.empty());
  EXPECT_EQ(documents[2].status.message(), "x.fa:5: the record has no sequence");
  EXPECT_EQ(documents[3].status.message(), "x.fa:6: the record has no sequence");
  EXPECT_EQ(Sequence(documents[4]), "GG");
}

TEST(FastaSourceTest, AnEmptyFileHasNoDocument) { EXPECT_TRUE(ReadAll("\n;\n").empty()); }

}  // namespace
}  // namespace longwave::cli
