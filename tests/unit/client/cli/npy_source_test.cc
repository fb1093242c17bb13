#include "client/cli/npy_source.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

namespace longwave::cli {
namespace {

std::string Npy(const std::string& header, const std::string& data, char major = 1) {
  std::string file = "\x93NUMPY";
  file.push_back(major);
  file.push_back('\0');
  const size_t length_bytes = major == 1 ? 2 : 4;
  for (size_t i = 0; i < length_bytes; ++i)
    file.push_back(static_cast<char>(header.size() >> 8 * i));
  return file + header + data;
}

std::string Header(const std::string& descr, const std::string& shape,
                   const std::string& order = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }  \n";
}

std::string Bytes(std::initializer_list<int> values) {
  std::string bytes;
  for (const int value : values) bytes.push_back(static_cast<char>(value));
  return bytes;
}

std::vector<Document> ReadAll(const std::string& file) {
  const DocumentMaker maker(nullptr, {});
  std::istringstream in(file);
  NpySource source("x.npy", in, maker);
  std::vector<Document> documents;
  while (auto document = source.Next()) documents.push_back(*std::move(document));
  return documents;
}

std::string Problem(const std::string& file) {
  const auto documents = ReadAll(file);
  return documents.empty() ? "none" : std::string(documents.back().status.message());
}

using Ids = std::vector<uint32_t>;

TEST(NpySourceTest, OneDimensionIsADocument) {
  const auto documents = ReadAll(Npy(Header("<u2", "(3,)"), Bytes({1, 0, 0, 1, 255, 255})));
  ASSERT_EQ(documents.size(), 1);
  EXPECT_EQ(documents[0].name, "x.npy");
  EXPECT_EQ(documents[0].ids, (Ids{1, 256, 65535}));
}

TEST(NpySourceTest, EachRowOfTwoDimensionsIsOne) {
  const auto documents = ReadAll(Npy(Header("|u1", "(2, 3)"), Bytes({1, 2, 3, 4, 5, 6}), 2));
  ASSERT_EQ(documents.size(), 2);
  EXPECT_EQ(documents[0].name, "x.npy[0]");
  EXPECT_EQ(documents[1].name, "x.npy[1]");
  EXPECT_EQ(documents[1].ids, (Ids{4, 5, 6}));
}

TEST(NpySourceTest, TakesEveryWidthOfIntegers) {
  EXPECT_EQ(ReadAll(Npy(Header("<i4", "(1,)"), Bytes({7, 0, 1, 0})))[0].ids, Ids{65543});
  EXPECT_EQ(ReadAll(Npy(Header("<u4", "(1,)"), Bytes({255, 255, 255, 255})))[0].ids,
            Ids{4294967295u});
  EXPECT_EQ(ReadAll(Npy(Header("<i8", "(1,)"), Bytes({7, 0, 0, 0, 0, 0, 0, 0})))[0].ids, Ids{7});
  EXPECT_EQ(ReadAll(Npy(Header("<u8", "(1,)", "True"), Bytes({9, 0, 0, 0, 0, 0, 0, 0}), 3))[0].ids,
            Ids{9});
}

TEST(NpySourceTest, AValueThatIsNoIdCostsNoOtherRow) {
  const auto documents =
      ReadAll(Npy(Header("<i2", "(3, 2)"), Bytes({1, 0, 2, 0, 3, 0, 255, 255, 5, 0, 6, 0})));
  ASSERT_EQ(documents.size(), 3);
  EXPECT_EQ(documents[1].status.message(), "element 1 is not a token id: they are 0 to 4294967295");
  EXPECT_EQ(documents[2].ids, (Ids{5, 6}));
  EXPECT_NE(Problem(Npy(Header("<u8", "(1,)"), Bytes({0, 0, 0, 0, 1, 0, 0, 0}))).find("element 0"),
            std::string::npos);
}

TEST(NpySourceTest, SaysWhereTheFileIsCutOff) {
  EXPECT_EQ(Problem(Npy(Header("<u2", "(2, 2)"), Bytes({1, 0, 2, 0, 3}))),
            "the file is cut off: row 1 of 2 has 1 bytes, and the header says 4");
  EXPECT_EQ(Problem(Npy(Header("|u1", "(1,)"), "ab")),
            "there are bytes behind the array; the file is damaged or holds more than one");
}

// A claim of terabytes costs no memory: the file ends long before.
TEST(NpySourceTest, BelievesNoHeaderBeforeTheBytesAreThere) {
  EXPECT_NE(Problem(Npy(Header("<i8", "(4294967295,)"), "x")).find("cut off"), std::string::npos);
  EXPECT_NE(Problem(Npy(Header("<u4", "(4294967296,)"), "")).find("limit 4294967295"),
            std::string::npos);
  EXPECT_NE(Problem(Npy(Header("<u8", "(4611686018427387904, 4)"), "")).find("2^63"),
            std::string::npos);
  EXPECT_NE(Problem(Npy(Header("<u8", "(1000000000000, 0)"), "")).find("empty rows"),
            std::string::npos);
}

TEST(NpySourceTest, RefusesWhatHoldsNoIds) {
  EXPECT_NE(Problem("plain text").find("does not begin with"), std::string::npos);
  EXPECT_NE(Problem("").find("does not begin with"), std::string::npos);
  EXPECT_NE(Problem(Npy(Header("<f4", "(1,)"), "")).find("descr '<f4'"), std::string::npos);
  EXPECT_NE(Problem(Npy(Header(">u4", "(1,)"), "")).find("descr '>u4'"), std::string::npos);
  EXPECT_NE(Problem(Npy(Header("|u1", "(2, 2)", "True"), "abcd")).find("fortran_order True"),
            std::string::npos);
  EXPECT_NE(Problem(Npy(Header("|u1", "()"), "a")).find("0 dimensions"), std::string::npos);
  EXPECT_NE(Problem(Npy(Header("|u1", "(1, 1, 1)"), "a")).find("3 dimensions"), std::string::npos);
  EXPECT_NE(Problem(Npy(Header("|u1", "(1,)"), "a", 4)).find("version 4.0"), std::string::npos);
  EXPECT_EQ(Problem(Npy(std::string(200, ' '), "").substr(0, 90)), "the .npy header is cut off");
  EXPECT_NE(Problem(Npy(std::string(70'000, ' '), "", 2)).find("limit 65536"), std::string::npos);
}

TEST(NpySourceTest, RefusesHeadersThatAreNotTheDictionary) {
  for (const char* header :
       {"", "{", "{}", "[]", "{'descr': '|u1'}", "{'descr': '|u1', 'fortran_order': False}",
        "{'descr': '|u1', 'fortran_order': 0, 'shape': (1,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1,)} x",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1 1)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1,",
        "{'descr': '|u1, 'fortran_order': False, 'shape': (1,)}",
        "{'other': 1, 'descr': '|u1', 'fortran_order': False, 'shape': (1,)}"}) {
    EXPECT_FALSE(ParseNpyHeader(header).ok()) << header;
  }
  EXPECT_TRUE(ParseNpyHeader("{\"shape\":(2,3),\"descr\":\"|u1\",\"fortran_order\":False}").ok());
}

}  // namespace
}  // namespace longwave::cli
