// What is on the disk at every moment, as far as a program can know it: the order of the calls that
// say so.
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/journal.h"
#include "client/cli/output_file.h"
#include "tests/unit/client/cli/temp_folder.h"

namespace {

std::vector<std::string> g_calls;
bool g_fclose_fails = false;

void Note(const std::string& call, const std::string& path) {
  std::string name = std::filesystem::path(path).filename().string();
  // The rest of the names of temporary files is random.
  if (const size_t at = name.find(".part-"); at != std::string::npos) name.resize(at + 6);
  if (name.starts_with("longwave-")) name = "folder";
  g_calls.push_back(call + " " + name);
}

void NoteOpen(const std::string& call, int descriptor) {
  Note(call, std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(descriptor)).string());
}

}  // namespace

// The program's own calls come here instead of to the C library.
extern "C" {

int fdatasync(int descriptor) {
  NoteOpen("fdatasync", descriptor);
  return static_cast<int>(syscall(SYS_fdatasync, descriptor));
}

int fsync(int descriptor) {
  NoteOpen("fsync", descriptor);
  return static_cast<int>(syscall(SYS_fsync, descriptor));
}

int rename(const char* from, const char* to) noexcept {
  Note("rename", to);
  return static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

int unlink(const char* path) noexcept {
  Note("unlink", path);
  return static_cast<int>(syscall(SYS_unlinkat, AT_FDCWD, path, 0));
}

int fclose(FILE* file) {
  static const auto close = reinterpret_cast<int (*)(FILE*)>(dlsym(RTLD_NEXT, "fclose"));
  const int closed = close(file);
  if (!g_fclose_fails) return closed;
  errno = ENOSPC;
  return EOF;
}

}  // extern "C"

namespace longwave::cli {
namespace {

using Calls = std::vector<std::string>;

class DurabilityTest : public testing::Test {
 protected:
  DurabilityTest() { g_calls.clear(); }
  ~DurabilityTest() override { g_fclose_fails = false; }

  Calls TakeCalls() { return std::exchange(g_calls, {}); }

  TempFolder folder_;
  const std::string path_ = folder_ / "x";
};

TEST_F(DurabilityTest, AFileIsOnTheDiskBeforeItHasItsName) {
  auto file = std::move(OutputFile::Create(path_)).value();
  ASSERT_TRUE(file->Append("whole").ok());
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_EQ(TakeCalls(), (Calls{"fdatasync x.part-", "rename x", "fsync folder"}));
}

TEST_F(DurabilityTest, TheNamesOfKeptFilesAreOnTheDiskToo) {
  const auto journal = Journal::Open(path_, {{"model", "m"}});
  ASSERT_TRUE(journal.ok());
  EXPECT_EQ(TakeCalls(), (Calls{"fdatasync x.journal", "fsync folder"}));
  auto file = std::move(OutputFile::CreateKept(path_, 0)).value();
  EXPECT_EQ(TakeCalls(), (Calls{"fsync folder"}));
  ASSERT_TRUE(file->Append("rows").ok());
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_EQ(TakeCalls(), (Calls{"fdatasync x.part", "rename x", "fsync folder"}));
  ASSERT_TRUE((*journal)->Remove().ok());
  EXPECT_EQ(TakeCalls(), (Calls{"unlink x.journal", "fsync folder"}));
}

// As safetensors does with a header of more than 4096 bytes: the rows are in a copy, and the kept
// file is the only one that is known to be on the disk until the copy has its name there.
TEST_F(DurabilityTest, TheKeptFileGoesWhenItsCopyIsOnTheDisk) {
  auto file = std::move(OutputFile::CreateKept(path_, 0)).value();
  ASSERT_TRUE(file->Append("headrest").ok());
  ASSERT_TRUE(file->Sync().ok());
  ASSERT_TRUE(file->Shift(4, 2).ok());
  TakeCalls();
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_EQ(TakeCalls(), (Calls{"fdatasync x.part-", "rename x", "fsync folder", "unlink x.part"}));
}

TEST_F(DurabilityTest, AFileThatDoesNotCloseGetsNoName) {
  std::ofstream(path_) << "older";
  auto file = std::move(OutputFile::Create(path_)).value();
  ASSERT_TRUE(file->Append("half").ok());
  g_fclose_fails = true;
  const absl::Status committed = file->Commit();
  g_fclose_fails = false;
  EXPECT_NE(committed.message().find("cannot close"), std::string::npos) << committed;
  file.reset();
  std::string content;
  std::ifstream(path_) >> content;
  EXPECT_EQ(content, "older");
  EXPECT_EQ(folder_.Files(), 1);
}

}  // namespace
}  // namespace longwave::cli
