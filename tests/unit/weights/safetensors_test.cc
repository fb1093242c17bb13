#include "model/weights/safetensors.h"

#include <limits>
#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/weights/safetensors_builder.h"

namespace longwave {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string Sound() {
  return SafetensorsBuilder().Add("b", {3}, {1, 2, 3}).Add("a", {2, 2}, {4, 5, 6, 7}).Build();
}

std::string ProblemOf(const std::string& bytes) {
  const auto file = SafetensorsFile::Parse(bytes);
  return file.ok() ? "accepted" : std::string(file.status().message());
}

// A header of one or more entries, each {name, dtype, shape, offsets}, over `size` zero bytes.
std::string Entries(const std::string& entries, size_t size) {
  return RawSafetensors("{" + entries + "}", std::string(size, '\0'));
}

TEST(Safetensors, ReadsWhatIsThere) {
  const std::string bytes = Sound();
  const auto file = SafetensorsFile::Parse(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->tensors().size(), 2u);
  EXPECT_THAT(file->tensors().at("a").shape, ElementsAre(2, 2));
  EXPECT_THAT(*file->Read("a"), ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(*file->Read("b"), ElementsAre(1, 2, 3));
  EXPECT_EQ(file->Read("c").status().code(), absl::StatusCode::kNotFound);
}

TEST(Safetensors, MetadataPaddingScalarsAndEmptyTensorsAreFine) {
  EXPECT_EQ(ProblemOf(RawSafetensors(R"({"__metadata__":{"format":"pt"},
      "s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},
      "e":{"dtype":"F16","shape":[3,0],"data_offsets":[4,4]}}      )",
                                     std::string(4, '\0'))),
            "accepted");
  EXPECT_EQ(ProblemOf(RawSafetensors("{}", "")), "accepted");
}

TEST(Safetensors, HalfTypesAreExact) {
  // 1, -2, 65504, the smallest subnormal, 0.333251953125, -0.
  const std::string half("\x00\x3c\x00\xc0\xff\x7b\x01\x00\x55\x35\x00\x80", 12);
  // 1, -2, 3.140625.
  const std::string brain("\x80\x3f\x00\xc0\x49\x40", 6);
  const std::string bytes =
      SafetensorsBuilder().AddRaw("h", "F16", {6}, half).AddRaw("b", "BF16", {3}, brain).Build();
  const auto file = SafetensorsFile::Parse(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(*file->Read("h"), ElementsAre(1, -2, 65504, 0x1p-24f, 0.333251953125f, -0.0f));
  EXPECT_THAT(*file->Read("b"), ElementsAre(1, -2, 3.140625f));
}

TEST(Safetensors, ValuesThatAreNotFiniteAreNamed) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const std::string bytes = SafetensorsBuilder()
                                .Add("nan", {2}, {1, nan})
                                .Add("inf", {1}, {-inf})
                                .AddRaw("half_inf", "F16", {1}, std::string("\x00\x7c", 2))
                                .AddRaw("half_nan", "F16", {1}, std::string("\x01\xfc", 2))
                                .AddRaw("brain_nan", "BF16", {1}, std::string("\xc0\x7f", 2))
                                .Build();
  const auto file = SafetensorsFile::Parse(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  for (const auto& [name, tensor] : file->tensors()) {
    const absl::Status status = file->Read(name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr("'" + name + "': value "));
  }
}

// Catalogue row 52: every cut of a sound file is refused, with sizes.
TEST(Safetensors, TruncatedAnywhere) {
  SafetensorsBuilder builder;
  for (int i = 0; i < 20; ++i)
    builder.Add("tensor" + std::to_string(i), {4, 4}, {std::vector<float>(16, i)});
  const std::string bytes = builder.Build();
  ASSERT_EQ(ProblemOf(bytes), "accepted");
  for (size_t part = 0; part < 64; ++part) {
    const size_t size = bytes.size() * part / 64;
    const std::string problem = ProblemOf(bytes.substr(0, size));
    EXPECT_THAT(problem, testing::AnyOf(HasSubstr("truncated: "), HasSubstr("too few"))) << size;
    EXPECT_THAT(problem, HasSubstr("expected")) << size;
  }
  EXPECT_THAT(ProblemOf(""), HasSubstr("0 bytes are too few: expected 8"));
  EXPECT_THAT(ProblemOf("1234567"), HasSubstr("7 bytes are too few: expected 8"));
}

// Catalogue row 53.
TEST(Safetensors, HostileHeaders) {
  const std::string four = R"("dtype":"F32","shape":[1],"data_offsets":[0,4])";
  const std::pair<std::string, const char*> table[] = {
      {LengthBytes(uint64_t{1} << 63) + "{}", "a header of 9223372036854775808 bytes: at most"},
      {LengthBytes(UINT64_MAX) + "{}", "a header of 18446744073709551615 bytes: at most"},
      {LengthBytes((16 << 20) + 1) + "{}", "a header of 16777217 bytes: at most 16777216"},
      {LengthBytes(3) + "{}", "truncated: 10 bytes found, at least 11 expected"},
      {LengthBytes(0), "does not begin with '{'"},
      {RawSafetensors("[]", ""), "does not begin with '{'"},
      {RawSafetensors(" {}", ""), "does not begin with '{'"},
      {RawSafetensors("{", ""), "header: not valid JSON near byte"},
      {RawSafetensors("{}{}", ""), "header: not valid JSON near byte"},
      {RawSafetensors(R"({"a":)" + std::string(1 << 20, '['), ""), "nested deeper than 32"},
      {Entries(R"("a":{)" + four + R"(},"a":{)" + four + "}", 4), "the key 'a' appears twice"},
      {Entries(R"("a":{"dtype":"F32",)" + four + "}", 4), "the key 'dtype' appears twice"},
      {Entries(R"("a":5)", 4), "'a': not an object"},
      {Entries(R"("a":{})", 4), "'a'.dtype is missing"},
      {Entries(R"("a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]})", 8),
       "'a'.dtype = \"F64\": accepted: one of F32, F16, BF16"},
      {Entries(R"("a":{"dtype":"F32","data_offsets":[0,4]})", 4), "'a'.shape is missing"},
      {Entries(R"("a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]})", 4), "'a'.shape = [-1]"},
      {Entries(R"("a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]})", 4), "'a'.shape = [1.0"},
      {Entries(R"("a":{"dtype":"F32","shape":[1]})", 4), "'a'.data_offsets is missing"},
      {Entries(R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0]})", 4), "'a'.data_offsets ="},
      {Entries(R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]})", 4), "'a'.data_offset"},
      {Entries(R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]})", 4),
       "'a'.data_offsets = [4,0]: accepted: [begin, end] with begin <= end"},
      {Entries(R"("a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]})", 4), "'a'.data_offsets"},
      {Entries(R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]})", 4),
       "'a'.data_offsets"},
      {Entries(R"("a":{"extra":1,)" + four + "}", 4), "'a'.'extra' = 1: unknown key"},
      {Entries(R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]})", 4),
       "'a': 4 bytes, but type and shape say 8"},
      {Entries(R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,0]})", 0),
       "'a': 0 bytes, but type and shape say 4"},
      {Entries(R"("a":{"dtype":"F32","shape":[281474976710656,281474976710656],)"
               R"("data_offsets":[0,4]})",
               4),
       "type and shape say -1"},
      {Entries(R"("a":{"dtype":"F32","shape":[1099511627776,4194304],"data_offsets":[0,0]})", 0),
       "type and shape say -1"},
      {Entries(R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]})", 4),
       "'a' begins at byte 4"},
      {Entries(R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
               R"("b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]})",
               12),
       "'b' begins at byte 8 of the data, but 4 is where"},
      {Entries(R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
               R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]})",
               12),
       "'b' begins at byte 4 of the data, but 8 is where"},
      {Entries(R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
               R"("b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})",
               4),
       "'b' begins at byte 0 of the data, but 4 is where"},
      {Entries(R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})", 7),
       "truncated: 7 bytes of data found, 8 expected"},
      {Entries("\"a\":{" + four + "}", 5), "bytes after the last tensor: 5 bytes of data found, 4"},
  };
  for (const auto& [bytes, problem] : table) {
    EXPECT_THAT(ProblemOf(bytes), HasSubstr(problem)) << bytes.substr(0, 200);
  }
}

// Catalogue row 56: formats that can run code are named and refused.
TEST(Safetensors, PicklesAndArchivesAreNamed) {
  EXPECT_THAT(ProblemOf("PK\x03\x04" + std::string(100, 'x')), HasSubstr("a ZIP archive"));
  EXPECT_THAT(ProblemOf("\x80\x02}q" + std::string(100, 'x')), HasSubstr("a pickle"));
  EXPECT_THAT(ProblemOf("\x80\x04"), HasSubstr("a pickle"));
  // A sound file whose length begins with the same byte is no pickle.
  EXPECT_EQ(ProblemOf(RawSafetensors("{}" + std::string(126, ' '), "")), "accepted");
}

TEST(Safetensors, NamesInErrorsAreEscapedAndShort) {
  const std::string problem =
      ProblemOf(Entries("\"\\u001b[31m\\n" + std::string(1 << 20, 'x') + "\":5", 0));
  EXPECT_THAT(problem, HasSubstr("'\\x1b[31m\\nxxx"));
  EXPECT_LT(problem.size(), 300u);
}

// Whatever one byte is changed to, the answer is a status: the fuzzer's property, in small.
TEST(Safetensors, EveryByteMayBeAnything) {
  const std::string sound = Sound();
  std::mt19937 random(7);
  for (size_t i = 0; i < sound.size(); ++i) {
    for (int trial = 0; trial < 24; ++trial) {
      std::string bytes = sound;
      bytes[i] = static_cast<char>(random());
      const auto file = SafetensorsFile::Parse(bytes);
      if (!file.ok()) continue;
      for (const auto& [name, tensor] : file->tensors()) file->Read(name).status().IgnoreError();
    }
  }
}

}  // namespace
}  // namespace longwave
