#include "client/cli/completion.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/cli/command_table.h"
#include "client/cli/man_page.h"

namespace longwave::cli {
namespace {

bool Holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(CompletionTest, KnowsEveryOptionOfEveryCommand) {
  const std::string bash = Completion("bash").value();
  const std::string zsh = Completion("zsh").value();
  const std::string fish = Completion("fish").value();
  for (const CommandInfo& command : CommandTable()) {
    EXPECT_TRUE(Holds(fish, absl::StrCat("-a ", command.name, " "))) << command.name;
    EXPECT_TRUE(Holds(zsh, absl::StrCat("'", command.name, ":"))) << command.name;
    const size_t bash_begin = bash.find(absl::StrCat("      ", command.name, ") options="));
    const size_t zsh_begin = zsh.find(absl::StrCat("    ", command.name, ")\n"));
    ASSERT_NE(bash_begin, std::string::npos) << command.name;
    ASSERT_NE(zsh_begin, std::string::npos) << command.name;
    const std::string of_bash = bash.substr(bash_begin, bash.find(";;", bash_begin) - bash_begin);
    const std::string of_zsh = zsh.substr(zsh_begin, zsh.find(";;", zsh_begin) - zsh_begin);
    for (const OptionInfo& option : command.options) {
      if (option.name.empty()) continue;
      const std::string what = absl::StrCat(command.name, " ", option.name);
      EXPECT_TRUE(Holds(absl::StrReplaceAll(of_bash, {{"'", " "}}), option.name + " ")) << what;
      EXPECT_TRUE(
          Holds(of_zsh, absl::StrCat("'*", option.name, option.value_name.empty() ? "[" : "=[")))
          << what;
      EXPECT_TRUE(Holds(fish, absl::StrCat("__fish_seen_subcommand_from ", command.name, "' -l ",
                                           option.name.substr(2), " -d")))
          << what;
    }
  }
}

TEST(CompletionTest, KnowsTheWordsOfClosedLists) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const std::string script = Completion(shell).value();
    EXPECT_TRUE(Holds(script, "mean cls last max none spans")) << shell;
    EXPECT_TRUE(Holds(script, "lines sentences paragraphs")) << shell;
  }
}

TEST(CompletionTest, KnowsNoOtherShell) {
  EXPECT_EQ(Completion("tcsh").status().message(), "needs one of bash, zsh, fish");
}

TEST(ManPageTest, HasEveryOptionOfEveryCommandAndEveryExitCode) {
  const std::string page = ManPage();
  for (const CommandInfo& command : CommandTable()) {
    const size_t begin = page.find(absl::StrCat(".SS ", command.name, "\n"));
    ASSERT_NE(begin, std::string::npos) << command.name;
    const std::string section = page.substr(begin, page.find("\n.S", begin + 1) - begin);
    for (const OptionInfo& option : command.options) {
      if (option.name.empty()) continue;
      const std::string escaped = absl::StrReplaceAll(option.name, {{"-", "\\-"}});
      EXPECT_TRUE(Holds(section, absl::StrCat("\\fB", escaped, "\\fR"))) << option.name;
    }
  }
  for (const ExitCodeInfo& code : ExitCodeTable()) {
    EXPECT_TRUE(Holds(page, absl::StrCat(".B ", static_cast<int>(code.code), "\n")));
  }
}

// A line that roff takes for a request is lost to the reader.
TEST(ManPageTest, NoTextIsTakenForARequest) {
  const std::string page = ManPage();
  size_t begin = 0;
  for (size_t end; (end = page.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const std::string line = page.substr(begin, end - begin);
    if (line[0] != '.' && line[0] != '\'') continue;
    const std::string request = line.substr(0, line.find(' '));
    bool known = false;
    for (const char* each :
         {".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".I", ".RS", ".RE", ".EX", ".EE"}) {
      known = known || request == each;
    }
    EXPECT_TRUE(known) << line;
  }
}

}  // namespace
}  // namespace longwave::cli
