#include "client/cli/man_page.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/cli/command_table.h"
#include "client/version.h"

namespace longwave::cli {
namespace {

// A line of text that roff takes for nothing else. Dashes are for typing, so they stay dashes.
std::string Escaped(absl::string_view text) {
  std::string escaped = absl::StrReplaceAll(text, {{"\\", "\\e"}, {"-", "\\-"}});
  if (absl::StartsWith(escaped, ".") || absl::StartsWith(escaped, "'")) escaped.insert(0, "\\&");
  return escaped;
}

// "usage: ...", paragraphs, and examples indented by two, as in the help.
void AppendUsage(const CommandInfo& command, std::string* page) {
  bool example = false;
  const auto end_example = [&] {
    if (example) absl::StrAppend(page, ".EE\n.RE\n");
    example = false;
  };
  bool first = true;
  for (const absl::string_view line : absl::StrSplit(command.usage, '\n')) {
    if (first) {
      absl::StrAppend(page, ".B ", Escaped(absl::StripPrefix(line, "usage: ")), "\n.PP\n");
    } else if (absl::StartsWith(line, "  ")) {
      if (!example) absl::StrAppend(page, ".PP\n.RS 4\n.EX\n");
      example = true;
      absl::StrAppend(page, Escaped(line.substr(2)), "\n");
    } else if (!line.empty()) {
      end_example();
      absl::StrAppend(page, Escaped(line), "\n");
    }
    first = false;
  }
  end_example();
}

void AppendOption(const OptionInfo& option, std::string* page) {
  absl::StrAppend(page, ".TP\n\\fB", Escaped(option.name), "\\fR");
  if (!option.value_name.empty()) {
    absl::StrAppend(page, " \\fI", Escaped(option.value_name), "\\fR");
  }
  absl::StrAppend(page, "\n");
  for (const absl::string_view line : absl::StrSplit(option.help, '\n')) {
    absl::StrAppend(page, Escaped(line), "\n");
  }
}

void AppendCommand(const CommandInfo& command, std::string* page) {
  absl::StrAppend(page, ".SS ", Escaped(command.name), "\n");
  AppendUsage(command, page);
  for (const OptionInfo& option : command.options) {
    if (option.name.empty()) {
      absl::StrAppend(page, ".PP\n.I ", Escaped(option.help), "\n");
    } else {
      AppendOption(option, page);
    }
  }
}

constexpr char kFiles[] = R"(.SH FILES
.TP
.I OUTPUT.part\fR, \fIOUTPUT.journal
With \fB\-\-resume\fR: the rows so far, and what is done of which inputs, with which options and
weights. Both go when OUTPUT appears. Removing both begins anew.
.SH ENVIRONMENT
.TP
.B LONGWAVE_API_KEY
The API key, where \fB\-\-api\-key\-file\fR names none.
)";

}  // namespace

std::string ManPage() {
  std::string page = absl::StrCat(".TH LONGWAVE 1 \"\" \"longwave ", client::Version(),
                                  "\" \"User Commands\"\n.SH NAME\nlongwave \\- ",
                                  "whole documents into embeddings, by a Longwave server\n",
                                  ".SH SYNOPSIS\n.B longwave\n.I COMMAND\n",
                                  "[\\fIOPTIONS\\fR] [\\fIINPUTS\\fR]\n.SH DESCRIPTION\n");
  for (const CommandInfo& command : CommandTable()) {
    absl::StrAppend(&page, ".TP\n\\fBlongwave ", Escaped(command.name), "\\fR\n",
                    Escaped(command.summary), "\n");
  }
  absl::StrAppend(
      &page, ".TP\n\\fBlongwave \\-\\-version\\fR\nthe program's version\n",
      ".PP\nOptions may be written \\fB\\-\\-name value\\fR or \\fB\\-\\-name=value\\fR; "
      "what follows \\fB\\-\\-\\fR is no option.\n.SH COMMANDS\n");
  for (const CommandInfo& command : CommandTable()) AppendCommand(command, &page);
  absl::StrAppend(&page, ".SH EXIT STATUS\n");
  for (const ExitCodeInfo& each : ExitCodeTable()) {
    absl::StrAppend(&page, ".TP\n.B ", static_cast<int>(each.code), "\n", Escaped(each.meaning),
                    "\n");
  }
  return page + kFiles;
}

}  // namespace longwave::cli
