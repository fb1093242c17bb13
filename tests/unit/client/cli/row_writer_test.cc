#include "client/cli/row_writer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "client/decode.h"
#include "tests/unit/client/cli/temp_folder.h"

namespace longwave::cli {
namespace {

using nlohmann::json;

class RowWriterTest : public testing::Test {
 protected:
  std::unique_ptr<RowWriter> Make(const std::string& name, OutputFormat format,
                                  ElementType type = ElementType::kFloat32) {
    path_ = folder_ / name;
    return std::move(MakeRowWriter(OutputFile::Create(path_).value(), format, type)).value();
  }
  std::string Content() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TempFolder folder_;
  std::string path_;
};

// Two documents, the second in two blocks, with one abandoned between them.
void WriteSample(RowWriter& writer) {
  ASSERT_TRUE(writer.Begin({.name = "one", .dim = 2}).ok());
  ASSERT_TRUE(writer.Add({1.0f, -2.0f}).ok());
  writer.End();
  ASSERT_TRUE(writer.Begin({.name = "lost", .dim = 2}).ok());
  ASSERT_TRUE(writer.Add({9.0f, 9.0f, 9.0f, 9.0f}).ok());
  ASSERT_TRUE(writer.Abandon().ok());
  ASSERT_TRUE(writer.Begin({.name = "two", .dim = 2}).ok());
  ASSERT_TRUE(writer.Add({0.5f, 0.25f, 3.0f, 4.0f}).ok());
  ASSERT_TRUE(writer.Add({5.0f, 6.0f}).ok());
  writer.End();
  EXPECT_EQ(writer.rows(), 4);
  ASSERT_TRUE(writer.Finish({{"model", "m"}}).ok());
}
const std::vector<float> kSample = {1.0f, -2.0f, 0.5f, 0.25f, 3.0f, 4.0f, 5.0f, 6.0f};

template <typename Value>
std::vector<Value> ValuesAt(const std::string& bytes, size_t begin, size_t count) {
  std::vector<Value> values(count);
  EXPECT_LE(begin + count * sizeof(Value), bytes.size());
  std::memcpy(values.data(), bytes.data() + begin, count * sizeof(Value));
  return values;
}

TEST_F(RowWriterTest, NpyReadsBack) {
  WriteSample(*Make("a.npy", OutputFormat::kNpy));
  const std::string content = Content();
  EXPECT_EQ(content.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  const size_t data = 10 + ValuesAt<uint16_t>(content, 8, 1)[0];
  EXPECT_EQ(data % 64, 0);
  const std::string header = content.substr(10, data - 10);
  EXPECT_EQ(header.substr(0, header.find_last_of('}') + 1),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 2), }");
  EXPECT_EQ(header.back(), '\n');
  EXPECT_EQ(content.size(), data + 8 * sizeof(float));
  EXPECT_EQ(ValuesAt<float>(content, data, 8), kSample);
}

TEST_F(RowWriterTest, NpyKeepsHalfPrecision) {
  WriteSample(*Make("half.npy", OutputFormat::kNpy, ElementType::kFloat16));
  const std::string content = Content();
  EXPECT_NE(content.find("'<f2'"), std::string::npos);
  EXPECT_EQ(content.size(), 128 + 8 * 2);
  std::vector<float> values;
  for (const uint16_t half : ValuesAt<uint16_t>(content, 128, 8)) {
    values.push_back(client::HalfToFloat(half));
  }
  EXPECT_EQ(values, kSample);
}

// What the format's definition asks of a reader, and the values.
void CheckSafetensors(const std::string& content, const std::string& dtype, size_t value_bytes,
                      json* metadata) {
  const size_t length = ValuesAt<uint64_t>(content, 0, 1)[0];
  ASSERT_LE(8 + length, content.size());
  const json header = json::parse(content.substr(8, length));
  const json& rows = header["embeddings"];
  EXPECT_EQ(rows["dtype"], dtype);
  EXPECT_EQ(rows["shape"], json({4, 2}));
  EXPECT_EQ(rows["data_offsets"], json({0, 8 * value_bytes}));
  const json& offsets = header["row_offsets"];
  EXPECT_EQ(offsets["dtype"], "I64");
  EXPECT_EQ(offsets["data_offsets"][0], rows["data_offsets"][1]);  // no hole
  const size_t count = offsets["shape"][0];
  EXPECT_EQ(offsets["data_offsets"][1], 8 * value_bytes + 8 * count);
  EXPECT_EQ(content.size(), 8 + length + 8 * value_bytes + 8 * count);
  const auto first_rows = ValuesAt<int64_t>(content, 8 + length + 8 * value_bytes, count);
  EXPECT_EQ(first_rows[0], 0);
  EXPECT_EQ(first_rows[1], 1);
  EXPECT_EQ(first_rows.back(), 4);
  if (dtype == "F32") {
    EXPECT_EQ(ValuesAt<float>(content, 8 + length, 8), kSample);
  }
  *metadata = header["__metadata__"];
}

TEST_F(RowWriterTest, SafetensorsReadBack) {
  WriteSample(*Make("a.safetensors", OutputFormat::kSafetensors));
  json metadata;
  CheckSafetensors(Content(), "F32", 4, &metadata);
  EXPECT_EQ(metadata["model"], "m");
  EXPECT_EQ(json::parse(metadata["documents"].get<std::string>()), json({"one", "two"}));
}

TEST_F(RowWriterTest, SafetensorsKeepBrainFloats) {
  WriteSample(*Make("b.safetensors", OutputFormat::kSafetensors, ElementType::kBFloat16));
  json metadata;
  CheckSafetensors(Content(), "BF16", 2, &metadata);
}

TEST_F(RowWriterTest, SafetensorsMoveTheRowsWhenNamesTakeMoreRoomThanLeft) {
  auto writer = Make("long.safetensors", OutputFormat::kSafetensors);
  ASSERT_TRUE(writer->Begin({.name = std::string(9000, 'n'), .dim = 2}).ok());
  ASSERT_TRUE(writer->Add({1.0f, -2.0f}).ok());
  writer->End();
  ASSERT_TRUE(writer->Begin({.name = "bad \xFF name", .dim = 2}).ok());
  ASSERT_TRUE(writer->Add({0.5f, 0.25f, 3.0f, 4.0f, 5.0f, 6.0f}).ok());
  writer->End();
  ASSERT_TRUE(writer->Finish({}).ok());
  json metadata;
  CheckSafetensors(Content(), "F32", 4, &metadata);
  EXPECT_EQ(json::parse(metadata["documents"].get<std::string>())[0], std::string(9000, 'n'));
}

TEST_F(RowWriterTest, JsonlReadsBack) {
  WriteSample(*Make("a.jsonl", OutputFormat::kJsonl));
  std::vector<json> lines;
  std::ifstream file(path_);
  for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line));
  ASSERT_EQ(lines.size(), 4);
  EXPECT_EQ(lines[0]["id"], "one");
  EXPECT_EQ(lines[0]["row"], 0);
  EXPECT_EQ(lines[2]["id"], "two");
  EXPECT_EQ(lines[2]["row"], 1);
  EXPECT_EQ(lines[3]["row"], 2);
  std::vector<float> values;
  for (const json& line : lines) {
    for (const float value : line["embedding"]) values.push_back(value);
  }
  EXPECT_EQ(values, kSample);
}

TEST_F(RowWriterTest, JsonlNumbersAreShortAndExactAndNamesAreEscaped) {
  auto writer = Make("n.jsonl", OutputFormat::kJsonl);
  const float third = 1.0f / 3;
  ASSERT_TRUE(writer->Begin({.name = "a \"quoted\"\n\xFF", .dim = 3}).ok());
  ASSERT_TRUE(writer->Add({third, 1e-42f, std::numeric_limits<float>::infinity()}).ok());
  writer->End();
  ASSERT_TRUE(writer->Finish({}).ok());
  EXPECT_NE(Content().find("[0.33333334, 1e-42, null]"), std::string::npos) << Content();
  const json line = json::parse(Content());
  EXPECT_EQ(line["embedding"][0].get<float>(), third);
}

TEST_F(RowWriterTest, AFileHasOneWidth) {
  auto writer = Make("w.npy", OutputFormat::kNpy);
  ASSERT_TRUE(writer->Begin({.name = "one", .dim = 2}).ok());
  writer->End();
  EXPECT_TRUE(absl::IsInvalidArgument(writer->Begin({.name = "two", .dim = 3})));
}

TEST_F(RowWriterTest, NothingAppearsWithoutFinish) {
  Make("never.npy", OutputFormat::kNpy).reset();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

// The inverse of the decoder, over all numbers there are.
TEST(AppendElementsTest, EveryHalfComesBack) {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    const float value = client::HalfToFloat(static_cast<uint16_t>(half));
    std::string bytes;
    AppendElements({value}, ElementType::kFloat16, &bytes);
    const uint16_t back = ValuesAt<uint16_t>(bytes, 0, 1)[0];
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(client::HalfToFloat(back)));
    } else {
      ASSERT_EQ(back, half);
    }
  }
}

TEST_F(RowWriterTest, ChunksKeepTheirPlaceInTheDocument) {
  const DocumentRows chunks = {
      .name = "d", .dim = 1, .rows = 2, .spans = {{.begin = 0, .end = 5}, {.begin = 4, .end = 9}}};
  auto writer = Make("chunks.jsonl", OutputFormat::kJsonl);
  ASSERT_TRUE(writer->Begin(chunks).ok());
  ASSERT_TRUE(writer->Add({1.0f}).ok());
  ASSERT_TRUE(writer->Add({2.0f}).ok());
  writer->End();
  ASSERT_TRUE(writer->Finish({}).ok());
  EXPECT_EQ(Content(),
            "{\"id\": \"d\", \"row\": 0, \"begin\": 0, \"end\": 5, \"embedding\": [1]}\n"
            "{\"id\": \"d\", \"row\": 1, \"begin\": 4, \"end\": 9, \"embedding\": [2]}\n");

  writer = Make("chunks.safetensors", OutputFormat::kSafetensors);
  ASSERT_TRUE(writer->Begin(chunks).ok());
  ASSERT_TRUE(writer->Add({1.0f, 2.0f}).ok());
  writer->End();
  ASSERT_TRUE(writer->Finish({}).ok());
  const std::string content = Content();
  const size_t data = 8 + ValuesAt<uint64_t>(content, 0, 1)[0];
  const json header = json::parse(content.substr(8, data - 8));
  EXPECT_EQ(header["row_spans"]["shape"], (std::vector<int>{2, 2}));
  EXPECT_EQ(header["row_spans"]["data_offsets"], (std::vector<int>{24, 56}));
  EXPECT_EQ(ValuesAt<int64_t>(content, data + 24, 4), (std::vector<int64_t>{0, 5, 4, 9}));
  EXPECT_EQ(content.size(), data + 56);
}

TEST_F(RowWriterTest, AsManyRowsAsSpansOrNone) {
  auto writer = Make("x.jsonl", OutputFormat::kJsonl);
  const absl::Status status = writer->Begin({.name = "d", .dim = 1, .rows = 2, .spans = {{}}});
  EXPECT_EQ(status.message(), "1 spans were asked for, and 2 rows came");
}

TEST_F(RowWriterTest, RawIsTheValuesAlone) {
  WriteSample(*Make("a.raw", OutputFormat::kRaw));
  ASSERT_EQ(Content().size(), 32);
  EXPECT_EQ(ValuesAt<float>(Content(), 0, 8), kSample);
  EXPECT_EQ(OutputFormatOfPath("a.raw"), OutputFormat::kRaw);
}

TEST_F(RowWriterTest, APipeGetsAnArrayForEachDocument) {
  std::ostringstream out;
  auto writer =
      MakeRowWriter(OutputFile::CreatePipe(out), OutputFormat::kNpy, ElementType::kFloat32).value();
  for (const int64_t rows : {2, 1}) {
    ASSERT_TRUE(writer->Begin({.name = "d", .dim = 1, .rows = rows}).ok());
    ASSERT_TRUE(writer->Add(std::vector<float>(rows, 4.0f)).ok());
    writer->End();
  }
  ASSERT_TRUE(writer->Finish({}).ok());
  const std::string content = out.str();
  ASSERT_EQ(content.size(), 128 + 8 + 128 + 4);
  EXPECT_NE(content.find("'shape': (2, 1)"), std::string::npos);
  EXPECT_EQ(content.substr(136, 6), "\x93NUMPY");
  EXPECT_NE(content.find("'shape': (1, 1)"), std::string::npos);
  // What has gone cannot be taken back.
  ASSERT_TRUE(writer->Begin({.name = "e", .dim = 1, .rows = 1}).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(writer->Abandon()));
}

// What two processes write is what one does, wherever the first one ended.
TEST_F(RowWriterTest, ASecondProcessGoesOnWhereTheFirstEnded) {
  for (const auto format :
       {OutputFormat::kNpy, OutputFormat::kSafetensors, OutputFormat::kJsonl, OutputFormat::kRaw}) {
    // The long name makes safetensors move the rows at the end.
    const DocumentRows one = {.name = std::string(9000, 'n'), .dim = 2, .rows = 1};
    const DocumentRows two = {.name = "two", .dim = 2, .rows = 2};
    auto whole = Make("whole", format);
    ASSERT_TRUE(whole->Begin(one).ok() && whole->Add({1.0f, 2.0f}).ok());
    whole->End();
    ASSERT_TRUE(whole->Begin(two).ok() && whole->Add({3.0f, 4.0f, 5.0f, 6.0f}).ok());
    whole->End();
    ASSERT_TRUE(whole->Finish({}).ok());
    const std::string expected = Content();

    path_ = folder_ / "kept";
    const auto kept = [&](int64_t bytes) {
      return MakeRowWriter(OutputFile::CreateKept(path_, bytes).value(), format,
                           ElementType::kFloat32)
          .value();
    };
    auto first = kept(0);
    ASSERT_TRUE(first->Begin(one).ok() && first->Add({1.0f, 2.0f}).ok());
    first->End();
    const int64_t begin_bytes = first->bytes();
    ASSERT_TRUE(first->Begin(two).ok() && first->Add({3.0f, 4.0f}).ok());
    const int64_t bytes = first->bytes();
    ASSERT_TRUE(first->Add({9.0f, 9.0f}).ok());  // of which nobody was told
    ASSERT_TRUE(first->Sync().ok());
    first.reset();

    auto second = kept(bytes);
    second->Skip(one);
    second->BeginAgain(two, begin_bytes, 1);
    ASSERT_TRUE(second->Add({5.0f, 6.0f}).ok());
    second->End();
    EXPECT_EQ(second->rows(), 3);
    ASSERT_TRUE(second->Finish({}).ok());
    EXPECT_EQ(Content(), expected) << static_cast<int>(format);
    EXPECT_FALSE(std::filesystem::exists(OutputFile::KeptPath(path_)));
  }
}

}  // namespace
}  // namespace longwave::cli
