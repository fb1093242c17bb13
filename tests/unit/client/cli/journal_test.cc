#include "client/cli/journal.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "client/cli/journal_line.h"
#include "client/error_info.h"
#include "tests/unit/client/cli/temp_folder.h"

namespace longwave::cli {
namespace {

class JournalTest : public testing::Test {
 protected:
  std::unique_ptr<Journal> Open() {
    auto journal = Journal::Open(output_, identity_);
    EXPECT_TRUE(journal.ok()) << journal.status();
    return journal.ok() ? *std::move(journal) : nullptr;
  }
  std::string Content() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TempFolder folder_;
  const std::string output_ = folder_ / "x.npy";
  const std::string path_ = Journal::PathOf(output_);
  Journal::Identity identity_ = {{"model", "m"}, {"pooling", "mean"}};
};

JournalRecord Record(const std::string& name) {
  return {.report = {.name = name,
                     .tokens = 5,
                     .rows = 1,
                     .dim = 2,
                     .first_row = 3,
                     .route = "fft",
                     .first_values = {0.1f, -2.5f}},
          .document_hash = 0xFFFFFFFFFFFFFFFFu,
          .bytes = 136};
}

TEST_F(JournalTest, RecordsComeBack) {
  {
    auto journal = Open();
    EXPECT_TRUE(journal->records().empty());
    JournalRecord failed = Record("b");
    failed.report.status = client::MakeError(
        absl::StatusCode::kInvalidArgument,
        {.reason = "SEQUENCE_TOO_LONG", .field = "f", .value = "v", .limit = "l"}, "too long");
    ASSERT_TRUE(journal->Append({Record("a"), failed}).ok());
    ASSERT_TRUE(journal
                    ->Append({{.kind = JournalRecord::Kind::kPartial,
                               .report = Record("c").report,
                               .begin_bytes = 7,
                               .total_rows = 9,
                               .fingerprint = "f"}})
                    .ok());
  }
  const auto records = Open()->records();
  ASSERT_EQ(records.size(), 3);
  EXPECT_EQ(records[0].report.name, "a");
  EXPECT_EQ(records[0].document_hash, 0xFFFFFFFFFFFFFFFFu);
  EXPECT_EQ(records[0].bytes, 136);
  EXPECT_EQ(records[0].report.first_values, (std::vector<float>{0.1f, -2.5f}));
  EXPECT_EQ(client::GetErrorInfo(records[1].report.status).reason, "SEQUENCE_TOO_LONG");
  EXPECT_EQ(records[2].kind, JournalRecord::Kind::kPartial);
  EXPECT_EQ(records[2].begin_bytes, 7);
  EXPECT_EQ(records[2].total_rows, 9);
  EXPECT_EQ(records[2].fingerprint, "f");
}

// A machine may go off in any byte of a line, or leave rubbish where the line was to be.
TEST_F(JournalTest, WhatWasNotWrittenToItsEndIsDropped) {
  {
    auto journal = Open();
    ASSERT_TRUE(journal->Append({Record("a"), Record("b")}).ok());
  }
  const std::string whole = Content();
  const size_t first = whole.find('\n') + 1;
  const size_t second = whole.find('\n', first) + 1;
  for (size_t size = 0; size <= whole.size(); ++size) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << whole.substr(0, size);
    const size_t expected = size == whole.size() ? 2 : size >= second ? 1 : 0;
    ASSERT_EQ(Open()->records().size(), expected) << size;
    ASSERT_EQ(Content().size(), size < first    ? first
                                : size < second ? first
                                : expected == 1 ? second
                                                : whole.size())
        << size;
  }
  for (size_t at = first; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] ^= 0x01;
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << damaged;
    ASSERT_LT(Open()->records().size(), 2) << at;
  }
}

TEST_F(JournalTest, GoesOnBehindWhatIsWhole) {
  ASSERT_TRUE(Open()->Append({Record("a")}).ok());
  std::ofstream(path_, std::ios::binary | std::ios::app) << "0000 torn";
  ASSERT_TRUE(Open()->Append({Record("b")}).ok());
  const auto records = Open()->records();
  ASSERT_EQ(records.size(), 2);
  EXPECT_EQ(records[1].report.name, "b");
}

TEST_F(JournalTest, SaysWhatIsNotAsItWas) {
  Open();
  identity_["pooling"] = "max";
  EXPECT_EQ(Journal::Open(output_, identity_).status().message(),
            path_ +
                " was begun with pooling 'mean', and this run has 'max'; run as before, or "
                "remove it and the output's .part to begin anew");
  identity_["pooling"] = "mean";
  identity_["route"] = "fft";
  EXPECT_NE(Journal::Open(output_, identity_).status().message().find("route nothing"),
            std::string::npos);
}

TEST_F(JournalTest, OneProcessAtATime) {
  const auto first = Open();
  const auto second = Journal::Open(output_, identity_);
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status()));
  EXPECT_NE(second.status().message().find("in use"), std::string::npos);
}

TEST_F(JournalTest, TouchesNoFileOfAnotherKind) {
  std::ofstream(path_) << "my diary\n";
  EXPECT_NE(Journal::Open(output_, identity_).status().message().find("is no journal"),
            std::string::npos);
  EXPECT_EQ(Content(), "my diary\n");
}

// One line without its end may be all of a file; a journal of ours that a dying machine left begins
// as ours does.
TEST_F(JournalTest, TouchesNoFileWithoutAnEndOfLineEither) {
  for (const std::string diary : {"my diary", "0"}) {
    std::ofstream(path_, std::ios::trunc) << diary;
    EXPECT_NE(Journal::Open(output_, identity_).status().message().find("is no journal"),
              std::string::npos);
    EXPECT_EQ(Content(), diary);
  }
}

TEST_F(JournalTest, IsGoneWhenRemoved) {
  ASSERT_TRUE(Open()->Remove().ok());
  EXPECT_EQ(folder_.Files(), 0);
}

TEST(HashDocumentTest, DependsOnIdsAndSpans) {
  const Document a = {.ids = {1, 2, 3}};
  Document b = a;
  EXPECT_EQ(HashDocument(a), HashDocument(b));
  b.ids[2] = 4;
  EXPECT_NE(HashDocument(a), HashDocument(b));
  b = a;
  b.spans = {{.begin = 0, .end = 2}};
  EXPECT_NE(HashDocument(a), HashDocument(b));
  EXPECT_NE(HashDocument({.ids = {1}}), HashDocument({.ids = {1, 0}}));
}

TEST(JournalTextTest, ReplacesWhatIsNotUtf8) {
  EXPECT_EQ(JournalText("a\xC3\xA9"), "a\xC3\xA9");
  EXPECT_EQ(JournalText("a\xFF"), "a\uFFFD");
}

}  // namespace
}  // namespace longwave::cli
